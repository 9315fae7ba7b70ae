"""The command line as a user has it: real processes, a home of its own, no terminal unless one is made."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.free_port import free_port

AGENTS = '''
"""Agents for the stories of the command line."""

from perdure import Agent, human_tool, tool

EVIL = "\\x1b]52;c;ZXZpbA==\\x07\\x1b[2Jamount 10\\u202e00\\u200b"


@tool(approval_required=True)
def pay(amount: int, note: str = "") -> str:
    """Pay."""
    return f"paid {amount}"


@tool
def evil() -> dict:
    """Return what a terminal must not see."""
    return {EVIL: EVIL}


def script(*entries):
    return {"script": list(entries)}


ASK = {"tool_calls": [{"tool": "pay", "arguments": {"amount": 40}}]}
EVIL_ASK = {"text": EVIL, "tool_calls": [{"tool": "evil"}]}

payer = Agent("payer", "mock/script", tools=[pay], model_settings=script(ASK, {"text": "Done: {result:pay}"}))
echo = Agent("echo", "mock/echo")
wicked = Agent("wicked", "mock/script", tools=[evil], model_settings=script(EVIL_ASK, {"text": EVIL}))
pair = Agent("pair", agents=[echo, payer], strategy="sequential")
ASK_BOSS = {"tool_calls": [{"tool": "ask_boss", "arguments": {"question": "May I?"}}]}
asker = Agent("asker", "mock/script", tools=[human_tool("ask_boss", "Ask the boss.")],
              model_settings=script(ASK_BOSS, {"text": "The boss: {result:ask_boss}"}))
desk = Agent("desk", agents=[asker, echo], strategy="manual")
failing = Agent("failing", "mock/script", model_settings=script({"text": "x", "fail": {"code": "E0205"}}))
'''


AGENT_NAMES = ("payer", "echo", "wicked", "failing", "pair", "desk")


class Program:
    """Runs `perdure` in a home of its own.

    Attributes:
        port: of its server, the same over restarts.
        agents: a file with agents `payer`, `echo`, `wicked`, `failing`, and the teams `pair` and `desk`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.port = free_port()
        self.agents = directory / "agents.py"
        self.agents.write_text(AGENTS, encoding="utf-8")
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
        # Dozens of processes import the same modules: compile them once, wherever that is allowed to be kept.
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        kept["PYTHONPYCACHEPREFIX"] = str(
            Path(tempfile.gettempdir()) / f"perdure-tests-pycache-{os.getuid()}"
        )
        self.environ = kept | {"PERDURE_HOME": str(self.home), "PERDURE_PORT": str(self.port)}

    def command(self, *arguments: str) -> list[str]:
        """The command line of a process."""
        return [sys.executable, "-m", "perdure", *arguments]

    def run(self, *arguments: str, **options: Any) -> Any:
        """Run a command to its end; see `execute`."""
        return self.execute(self.command(*arguments), **options)

    def run_python(self, code: str) -> Any:
        """Run Python code in the same environment."""
        return self.execute([sys.executable, "-c", code])

    def execute(self, command: list[str], *, stdin: str = "", timeout: float = 60, **environ: str) -> Any:
        """Run a process to its end; stdout and stderr as text, *environ* on top of the environment."""
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environ | environ,
            cwd=self.directory,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The JSON that a command prints."""
        return json.loads(self.ok(*arguments, "-o", "json"))

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A command that goes on; its output is a pipe."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ,
            cwd=self.directory,
            **options,
        )

    @contextlib.contextmanager
    def worker(self, *references: str) -> Iterator[None]:
        """A worker that serves these agents, ready."""
        process = self.popen("worker", *references)
        try:
            for _ in references:
                while not (line := process.stdout.readline()).startswith("serving"):
                    assert line, process.stderr.read()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)

    def server_pid(self) -> int:
        """The process of the server."""
        return int(json.loads((self.home / "server.json").read_text())["pid"])

    def until(self, execution: str, status: str, timeout: float = 30) -> dict[str, Any]:
        """Wait until an execution has this status."""
        give_up_at = time.monotonic() + timeout
        while True:
            found = self.get(f"/executions/{execution}")
            if found["status"] == status:
                return found
            assert time.monotonic() < give_up_at, f"still {found['status']}, not {status}"
            time.sleep(0.05)

    def get(self, path: str) -> Any:
        """What the server answers, without the command line."""
        key = (self.home / "api_key").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Program]:
    """A program whose server runs and whose agents are served."""
    program = Program(directory)
    program.ok("server", "start")
    try:
        with program.worker(*(f"agents.py:{name}" for name in AGENT_NAMES)):
            yield program
    finally:
        program.run("server", "stop")
