"""The functions of the module use one runtime that they share: no `with`, nothing to pass around. `configure` says where
it is; without it they find or start this user's server. `shutdown` closes it.

Prints:
    run: hello
    start: hello
    resume: hello
    by name: hello
    stream: hello
"""

import os
import tempfile

from perdure import Agent, configure, deploy, plan, resume, run, serve, shutdown, start, stream

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
echo = Agent("echo", MODEL, "Repeat what the user says, and nothing else.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        configure(embedded=True, data_dir=folder)
        if plan(echo)["model_problem"] is None:
            print(f"run: {run(echo, 'hello').output}")
        handle = start(echo, "hello")
        print(f"start: {handle.join().output}")
        print(f"resume: {resume(handle.execution_id, echo).join().output}")
        deploy(echo)
        serve(echo, blocking=False)
        print(f"by name: {run('echo', 'hello').output}")
        for event in stream(echo, "hello"):
            if event.type == "message":
                print(f"stream: {event.content}")
        shutdown()
