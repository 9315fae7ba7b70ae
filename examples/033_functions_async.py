"""The asynchronous functions of the module: the same verbs with `_async`, for code that runs in an event loop.

Prints:
    run: hello
    start: hello
    resume: hello
    by name: hello
    stream: hello
"""

import asyncio
import contextlib
import os
import tempfile

from perdure import (
    Agent,
    configure,
    deploy_async,
    plan_async,
    resume_async,
    run_async,
    serve_async,
    shutdown_async,
    start_async,
    stream_async,
)

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
echo = Agent("echo", MODEL, "Repeat what the user says, and nothing else.")


async def main() -> None:
    """Each verb once."""
    if (await plan_async(echo))["model_problem"] is None:
        print(f"run: {(await run_async(echo, 'hello')).output}")
    handle = await start_async(echo, "hello")
    print(f"start: {(await handle.join_async()).output}")
    again = await resume_async(handle.execution_id, echo)
    print(f"resume: {(await again.join_async()).output}")
    await deploy_async(echo)
    worker = asyncio.create_task(serve_async(echo))
    print(f"by name: {(await run_async('echo', 'hello')).output}")
    async for event in await stream_async(echo, "hello"):
        if event.type == "message":
            print(f"stream: {event.content}")
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker
    await shutdown_async()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        configure(embedded=True, data_dir=folder)
        asyncio.run(main())
