"""The stage of a story: a home, a server, workers and clients that are processes of their own, and a ledger.

Everything goes through the public door: `python -m perdure ...`, and programs that import `perdure` and nothing else
of ours. Each process leads a process group; at the end of the story every group that was started is killed, however
the story ended.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from perdure import AgentRuntime
from tests.crash import ledger as ledger_program
from tests.crash.invariants import check
from tests.free_port import free_port

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 30.0  # what takes longer than this on a busy machine has gone wrong

T = TypeVar("T")


class Process:
    """A process that leads a group of its own. Its output goes to files that the next one of its name appends to."""

    def __init__(self, stage: "Stage", name: str, arguments: list[str], environ: dict[str, str]) -> None:
        self.name = name
        self.out = stage.directory / f"{name}.out"
        self.err = stage.directory / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environ,
                cwd=stage.directory,
                process_group=0,
            )

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        return self.popen.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it lives."""
        return self.popen.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, unless the process was waited for."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.send(signal.SIGKILL)
        self.popen.wait(SOON_S)

    def ended(self, timeout: float = SOON_S) -> int:
        """Wait for its end and give its exit code."""
        return self.popen.wait(timeout)

    def lines(self) -> list[Any]:
        """The JSON values that it has printed, one a line; a line that a kill cut off is left out."""
        found = []
        for line in self.out.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def said(self) -> str:
        """Its standard error."""
        return self.err.read_text(encoding="utf-8")


class Stage:
    """Use as a context manager.

    Args:
        directory: an empty one.
        lease_ms: PERDURE_LEASE_MS of the server; None: the default, 5 s.

    Attributes:
        acked: starts that clients were told of, for the checker.
    """

    def __init__(self, directory: Path, lease_ms: int | None = None) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.acked: list[tuple[str, Any]] = []
        self.processes: list[Process] = []
        self.environ = {
            **plain_environment(),
            "PERDURE_HOME": str(self.home),
            "PERDURE_PORT": str(self.port),
            # Named, so that a worker or a client that finds no server does not start one of its own.
            "PERDURE_SERVER_URL": self.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONUNBUFFERED": "1",
        }
        if lease_ms is not None:
            self.environ["PERDURE_LEASE_MS"] = str(lease_ms)

    def __enter__(self) -> Self:
        self.directory.mkdir(exist_ok=True)
        self._ledger_file = self.directory / "ledger.jsonl"
        self._ledger_file.touch()
        with (self.directory / "ledger.err").open("ab") as err:  # it complains about clients that were killed
            self._ledger = subprocess.Popen(
                [sys.executable, ledger_program.__file__, str(self._ledger_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        self.environ["STORY_LEDGER"] = self._ledger.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self._tell_what_was_said()
        for process in self.processes:
            process.kill()
        with self._ledger:
            self._ledger.stdin.close()

    def _tell_what_was_said(self) -> None:
        """Print the end of every process's standard error: pytest shows it when the story failed."""
        for path in sorted(self.directory.glob("*.err")):
            print(f"--- {path.name}\n{path.read_text(encoding='utf-8')[-2000:]}")

    def spawn(self, name: str, *arguments: str, **environ: str) -> Process:
        """Start `python ARGUMENTS`; *environ* goes on top of the environment."""
        process = Process(self, name, list(arguments), self.environ | environ)
        self.processes.append(process)
        return process

    def program(self, name: str, *arguments: str, called: str = "") -> Process:
        """Start a program of `tests/story/programs`."""
        return self.spawn(called or name, "-m", f"tests.story.programs.{name}", *arguments)

    def worker(self, *agents: str, called: str = "worker") -> Process:
        """Start a worker that serves these agents of `programs.cast`."""
        return self.program("worker", *agents, called=called)

    def start_server(self) -> Process:
        """Start the server, or start it again; returns when it answers."""
        self.server = self.spawn_server()
        self.until_server_answers()
        return self.server

    def spawn_server(self) -> Process:
        """Start the server and do not wait for it."""
        self.server = self.spawn("server", "-m", "perdure", "server", "start", "--foreground")
        return self.server

    def until_server_answers(self) -> None:
        """Wait until the server accepts requests."""

        def answers() -> bool:
            assert self.server.exit_code is None, f"the server did not start: {self.server.said()[-2000:]}"
            return self._server_pid() == self.server.pid

        until(answers, "the server to answer", every=0.02)

    def _server_pid(self) -> int:
        try:
            return int(json.loads((self.home / "server.json").read_bytes())["pid"])
        except (OSError, ValueError):
            return 0

    def stop_server(self) -> None:
        """Stop it in good order, so that the journal can be looked at."""
        self.server.send(signal.SIGTERM)
        assert self.server.ended() == 0, self.server.said()[-2000:]

    def runtime(self, **options: Any) -> AgentRuntime:
        """A runtime in this process that uses the stage's server."""
        return AgentRuntime(self.url, home=self.home, **options)

    def ledger(self) -> list[dict[str, Any]]:
        """What took effect, in order."""
        return [json.loads(line) for line in self._ledger_file.read_text(encoding="utf-8").splitlines()]

    def get(self, path: str) -> bytes:
        """What the server answers to a GET."""
        key = (self.home / "api_key").read_text(encoding="utf-8").strip()
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return answer.read()

    async def checked(self) -> set[str]:
        """Hold the invariants against journal and ledger; give the kinds of events. The server must have stopped."""
        return await check(self.home, self.ledger(), self.acked)


def plain_environment() -> dict[str, str]:
    """This process's environment without settings of Perdure and keys of providers."""
    return {
        k: v
        for k, v in os.environ.items()
        if not k.startswith("PERDURE_") and not k.endswith(("_API_KEY", "_TOKEN"))
    }


def until(found: Callable[[], T], what: str, timeout: float = SOON_S, every: float = 0.05) -> T:
    """Ask until the answer is true, and give it."""
    give_up_at = time.monotonic() + timeout
    while not (answer := found()):
        assert time.monotonic() < give_up_at, f"waited {timeout:g} s in vain for {what}"
        time.sleep(every)
    return answer
