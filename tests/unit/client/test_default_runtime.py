"""The module-level functions and the one runtime behind them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import perdure
from perdure import Agent, AgentHandle, ClientError, DefinitionError, tool
from perdure.client.default import _state
from perdure.client.session import Options
from perdure.testing import MockModel, call


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Path]:
    """The default runtime, embedded; gone in the end."""
    perdure.configure(embedded=True, data_dir=tmp_path)
    yield tmp_path
    perdure.shutdown()
    _state["options"] = Options()


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


def agent(word: str = "sum is {result:add}") -> Agent:
    """An agent that adds."""
    return Agent("adder", MockModel([call("add", a=1, b=2), word]), tools=[add])


def test_the_functions_share_one_runtime(embedded: Path):
    """run, start, stream, resume, plan, deploy and a handle without a runtime use the same server."""
    assert perdure.run(agent(), "go").output == "sum is 3"
    handle = perdure.start(agent(), "go")
    assert AgentHandle(handle.execution_id).join(timeout=20).output == "sum is 3"
    assert [e.output for e in perdure.stream(agent(), "go")][-1] == "sum is 3"
    assert perdure.resume(handle.execution_id, agent()).get_status().is_complete
    assert perdure.plan(agent())["agent"] == "adder"
    assert perdure.deploy(agent())[0].version == 1
    perdure.serve(agent(), blocking=False)
    assert perdure.run("adder", "go").output == "sum is 3"


def test_the_asynchronous_functions(embedded: Path):
    """The same from a loop, several times; each loop cleans up after itself."""

    async def main() -> None:
        assert (await perdure.run_async(agent(), "go")).output == "sum is 3"
        handle = await perdure.start_async(agent(), "go")
        assert (await handle.join_async(20)).output == "sum is 3"
        stream = await perdure.stream_async(agent(), "go")
        assert [e async for e in stream][-1].output == "sum is 3"
        assert (await (await perdure.resume_async(handle.execution_id)).get_status_async()).is_complete
        assert (await perdure.plan_async(agent()))["worker_tools"] == ["adder.add"]
        assert (await perdure.deploy_async(agent()))[0].agent == "adder"
        serving = asyncio.ensure_future(perdure.serve_async(agent()))
        assert (await perdure.run_async("adder", "go")).output == "sum is 3"
        serving.cancel()
        await asyncio.wait([serving])

    asyncio.run(main())
    asyncio.run(main())

    async def last() -> None:
        await main()
        await perdure.shutdown_async()

    asyncio.run(last())


def test_configure_comes_first(embedded: Path):
    """E0707 once the runtime is in use, E0106 for an option that there is not; after shutdown it works again."""
    with pytest.raises(DefinitionError, match="no option colour"):
        perdure.configure(colour="red")
    assert perdure.run(agent(), "go").is_success
    with pytest.raises(ClientError) as caught:
        perdure.configure(embedded=False)
    assert caught.value.code == "E0707"
    perdure.shutdown()
    perdure.configure(worker_concurrency=2)
    assert perdure.run(agent(), "go").is_success


def test_a_program_ends_by_itself(tmp_path: Path):
    """Without shutdown the program ends when it is done, with nothing on its error output; a hung tool does not keep it."""
    code = (
        "import sys, threading\n"
        "from perdure import Agent, configure, run, start, tool\n"
        "from perdure.testing import MockModel, call\n"
        "configure(embedded=True, data_dir=sys.argv[1])\n"
        "@tool\n"
        "def hang() -> str:\n"
        "    'Hangs.'\n"
        "    hanging.set()\n"
        "    threading.Event().wait()\n"
        "hanging = threading.Event()\n"
        "print(run(Agent('a', MockModel(['hello'])), 'hi').output)\n"
        "start(Agent('b', MockModel([call('hang')]), tools=[hang]), 'hi')\n"
        "hanging.wait(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert "Traceback" not in done.stderr
    assert "ResourceWarning" not in done.stderr
