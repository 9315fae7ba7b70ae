"""Client, worker and server as processes of their own: started once, killed, started again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Agent,
    AgentEvent,
    AgentHandle,
    AgentRuntime,
    ClientError,
    EventType,
    Status,
    ToolContext,
    tool,
)
from perdure.testing import MockModel, call, text
from tests.free_port import free_port


class Home:
    """A home of its own, with the server that lives in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.environ = {**os.environ, "PERDURE_HOME": str(path), "PERDURE_PORT": str(self.port)}
        self.environ.pop("PERDURE_SERVER_URL", None)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it listens."""
        self.path.mkdir(exist_ok=True)
        (self.path / "server.json").unlink(missing_ok=True)
        with (self.path / "test.log").open("ab") as log:
            command = [sys.executable, "-m", "perdure", "server", "start", "--foreground"]
            self.process = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)
        until(lambda: (self.path / "server.json").exists() or self.has_ended(), 30)
        assert not self.has_ended(), (self.path / "test.log").read_text()

    def has_ended(self) -> bool:
        """Whether the server has ended by itself."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def run(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Another Python process with this home."""
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def runtime(self, **options: Any) -> AgentRuntime:
        """A runtime of this process on the server that runs."""
        return AgentRuntime(f"http://127.0.0.1:{self.port}", home=self.path, **options)

    def background_pid(self) -> int:
        """The server that somebody started in the background."""
        return int(json.loads((self.path / "server.json").read_text())["pid"])


def until(condition: Any, timeout_s: float = 10) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, "waited too long"
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home whose server is gone in the end, whoever started it."""
    found = Home(tmp_path / "home")
    try:
        yield found
    finally:
        if found.process is not None:
            found.kill()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(found.background_pid(), signal.SIGTERM)
            until(lambda: not (found.path / "server.json").exists())


def test_two_processes_at_once_start_one_server(home: Home):
    """Two first uses at the same time: one server is started, both use it, and it outlives them."""
    code = (
        "from perdure import Agent, run\nfrom perdure.testing import MockModel\n"
        "print(run(Agent('a', MockModel(['hello'])), 'hi').output)"
    )
    both = [home.run(code) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert outputs == ["hello\n", "hello\n"]
    log = (home.path / "server.log").read_text()
    assert log.count("listening") == 1
    pid = home.background_pid()
    os.kill(pid, 0)
    with AgentRuntime(home=home.path) as runtime:
        agent = Agent("a", MockModel(["here"]))
        assert runtime.run(agent, "hi").output == "here"
    assert home.background_pid() == pid


def test_a_server_that_cannot_start_says_why(home: Home, monkeypatch: pytest.MonkeyPatch):
    """E0702 has the end of the server's log: here that another program has the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", home.port))
        taken.listen()
        monkeypatch.setenv("PERDURE_PORT", str(home.port))
        monkeypatch.delenv("PERDURE_SERVER_URL", raising=False)
        taken.settimeout(0.1)
        hang_up = threading.Thread(target=_refuse, args=(taken,), daemon=True)
        hang_up.start()
        with AgentRuntime(home=home.path) as runtime, pytest.raises(ClientError) as caught:
            runtime.run(Agent("a", MockModel(["x"])), "hi")
    hang_up.join()
    assert caught.value.code == "E0702"
    assert "E0614" in caught.value.why
    assert caught.value.where.endswith("server.log")


def _refuse(taken: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            with contextlib.suppress(TimeoutError):
                taken.accept()[0].close()


def test_an_address_that_was_named_is_not_replaced(home: Home):
    """Where the user named a server, none is started: E0701 at once."""
    runtime = home.runtime()
    began = time.monotonic()
    with runtime, pytest.raises(ClientError) as caught:
        runtime.run(Agent("a", MockModel(["x"])), "hi")
    assert caught.value.code == "E0701"
    assert time.monotonic() - began < 8
    off = AgentRuntime(home=home.path, auto_start=False)
    assert not home.path.exists()
    off.shutdown()


def test_a_stream_survives_a_killed_server(home: Home):
    """SIGKILL in mid-answer and a restart: no event is missing or doubled, and the tokens of the last attempt are the answer."""
    home.start()
    words = " ".join(f"word{n}" for n in range(40))
    agent = Agent("talker", MockModel([text(words, chunks=40, chunk_delay_ms=50)]))
    seen: list[AgentEvent] = []
    killed = False
    with home.runtime() as runtime:
        stream = runtime.stream(agent, "talk")
        for event in stream:
            seen.append(event)
            tokens = [e for e in seen if e.type == EventType.TOKEN]
            if len(tokens) == 8 and not killed:
                killed = True
                home.kill()
                home.start()
        assert killed
        result = stream.result
    assert result.output == words
    assert [(e.seq, e.type) for e in seen if e.seq] == [(e.seq, e.type) for e in result.events]
    attempts = {e.attempt for e in seen if e.type == EventType.TOKEN}
    assert len(attempts) == 2
    last = max(a for a in attempts if a is not None)
    assert "".join(e.content for e in seen if e.type == EventType.TOKEN and e.attempt == last) == words
    assert EventType.RETRY in {e.type for e in seen}


def test_work_in_hand_survives_a_killed_server(home: Home):
    """A tool that ends while the server is away is handed in after its restart; it does not run again."""
    home.start()
    ran: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    @tool
    def work(context: ToolContext) -> str:
        """Works."""
        ran.append(context.idempotency_key)
        began.set()
        go_on.wait(20)
        return "worked"

    agent = Agent("worker", MockModel([call("work"), "{result:work}"]), tools=[work])
    with home.runtime() as runtime:
        handle = runtime.start(agent, "go")
        assert began.wait(10)
        home.kill()
        go_on.set()
        time.sleep(0.3)
        home.start()
        assert handle.join(timeout=30).output == "worked"
        assert len(ran) == 1


SERVE = """
import sys, time
from pathlib import Path
from perdure import Agent, serve, tool
from perdure.testing import MockModel, call
@tool
def slow() -> str:
    "Is slow."
    Path(sys.argv[1]).touch()
    time.sleep(1)
    return "slow but done"
serve(Agent("served", MockModel([call("slow"), "{result:slow}"]), tools=[slow]))
print("stopped")
"""


def test_serve_finishes_what_it_has_when_it_is_told_to_stop(home: Home, tmp_path: Path):
    """SIGTERM in the middle of a call: the call ends, its result is recorded, then the process ends."""
    home.start()
    serving = home.run(SERVE, str(tmp_path / "began"))
    with home.runtime() as runtime:
        api_ready = lambda: _deployed(runtime)  # noqa: E731 - a condition
        until(api_ready, 20)
        handle = AgentHandle(runtime.start("served", "go").execution_id, runtime)
        until((tmp_path / "began").exists, 20)
        serving.send_signal(signal.SIGTERM)
        assert serving.communicate(timeout=20)[0] == "stopped\n"
        assert serving.returncode == 0
        result = handle.join(timeout=20)
    assert (result.output, result.status) == ("slow but done", Status.COMPLETED)
    assert [e.attempt for e in result.events if e.type == EventType.TOOL_RESULT] == [1]


def _deployed(runtime: AgentRuntime) -> bool:
    async def look() -> bool:
        api = (await runtime.session.connection()).api
        return bool(await api.agents())

    return runtime.session.call(look())


def test_a_killed_worker_is_replaced(home: Home, tmp_path: Path):
    """SIGKILL of the process that serves: another one retakes the task, as attempt 2."""
    home.environ["PERDURE_LEASE_MS"] = "1000"
    home.start()
    first = home.run(SERVE.replace("time.sleep(1)", "time.sleep(60)"), str(tmp_path / "first"))
    with home.runtime() as runtime:
        until(lambda: _deployed(runtime), 20)
        handle = runtime.start("served", "go")
        until((tmp_path / "first").exists, 20)
        first.kill()
        first.communicate()
        second = home.run(SERVE, str(tmp_path / "second"))
        try:
            result = handle.join(timeout=30)
        finally:
            second.terminate()
            second.communicate(timeout=20)
    assert result.output == "slow but done"
    assert [e.attempt for e in result.events if e.type == EventType.TOOL_RESULT] == [2]


def test_an_interrupt_leaves_the_execution_running(home: Home):
    """Ctrl-C in `run` ends the call at once; the execution goes on, and another process has its result."""
    home.start()
    code = (
        "from perdure import Agent, run\nfrom perdure.testing import MockModel, text\n"
        "print('go', flush=True)\nrun(Agent('a', MockModel([text('late', delay_ms=3000)])), 'hi', session_id='s')"
    )
    running = home.run(code)
    with home.runtime() as runtime:

        async def started() -> list[Any]:
            return (await (await runtime.session.connection()).api.executions(session_id="s")).executions

        until(lambda: runtime.session.call(started()), 20)
        running.send_signal(signal.SIGINT)
        output = running.communicate(timeout=10)[0]
        assert "KeyboardInterrupt" in output
        handle = AgentHandle(runtime.session.call(started())[0].execution_id, runtime)
        assert handle.join(timeout=20).output == "late"


async def test_tools_of_several_loops_and_threads(home: Home):
    """One runtime used from threads and from a loop at the same time serves them all."""
    home.start()

    @tool
    async def echo(word: str) -> str:
        """Echoes."""
        await asyncio.sleep(0.01)
        return word

    def agent(word: str) -> Agent:
        return Agent("echo", MockModel([call("echo", word=word), "{result:echo}"]), tools=[echo])

    async with home.runtime() as runtime:
        threads = [asyncio.to_thread(runtime.run, agent(f"t{n}"), "go") for n in range(4)]
        own = [runtime.run_async(agent(f"a{n}"), "go") for n in range(4)]
        results = await asyncio.gather(*threads, *own)
    assert [r.output for r in results] == [f"t{n}" for n in range(4)] + [f"a{n}" for n in range(4)]
