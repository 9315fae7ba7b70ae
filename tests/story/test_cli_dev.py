"""`perdure dev` and the examples that the README names."""

import os
import select
import signal
import sys
import time
from pathlib import Path

from tests.story.cli_program import Program

ROOT = Path(__file__).parents[2]
SOURCE = """
from perdure import Agent, tool

@tool
def number() -> int:
    '''Give the number.'''
    return {number}

agent = Agent("numbers", "mock/tools", tools=[number])
"""


class Told:
    """What a process has printed so far."""

    def __init__(self, process) -> None:
        self._fd = process.stdout.fileno()
        self.text = ""

    def expect(self, words: str, timeout: float = 60) -> None:
        """Wait until *words* were printed, after those that were expected before."""
        give_up_at = time.monotonic() + timeout
        while words not in self.text:
            assert time.monotonic() < give_up_at, f"not seen: {words!r} in {self.text}"
            if select.select([self._fd], [], [], 0.1)[0]:
                piece = os.read(self._fd, 65_536).decode()
                assert piece, f"ended before {words!r}: {self.text}"
                self.text += piece
        self.text = self.text.split(words, 1)[1]


def test_dev_reloads_the_worker_and_keeps_the_server(tmp_path):
    """A changed file restarts the worker alone; a broken one is told and mended; Ctrl-C ends both."""
    program = Program(tmp_path)
    source = tmp_path / "counting.py"
    source.write_text(SOURCE.format(number=1))
    process = program.popen("dev", "counting.py:agent")
    try:
        told = Told(process)
        told.expect(f"http://127.0.0.1:{program.port}")
        told.expect("serving numbers: number")
        server = program.server_pid()
        assert program.ok("run", "numbers", "Go").endswith("number: 1\n")

        source.write_text(SOURCE.format(number=22))
        told.expect("changed: counting.py")
        told.expect("serving numbers: number")
        assert program.ok("run", "numbers", "Go").endswith("number: 22\n")

        source.write_text("this is not Python")
        told.expect("changed: counting.py")
        source.write_text(SOURCE.format(number=333))
        told.expect("serving numbers: number")
        assert program.ok("run", "numbers", "Go").endswith("number: 333\n")
        assert program.server_pid() == server

        process.send_signal(signal.SIGINT)
        told.expect("Stopped.")
        assert process.wait(30) == 0
        assert program.run("server", "status").returncode == 5
    finally:
        process.kill()
        process.communicate()


def test_dev_needs_nothing(tmp_path):
    """Without an argument a bundled agent is served, ready to be run as it says, and --ephemeral forgets."""
    program = Program(tmp_path)
    process = program.popen("dev", "--ephemeral")
    try:
        told = Told(process)
        told.expect("export PERDURE_HOME=")
        told.expect("serving support: lookup_order, check_policy, refund")
        process.send_signal(signal.SIGTERM)
        told.expect("Stopped.")
        assert process.wait(30) == 0
        assert not program.home.exists()
    finally:
        process.kill()
        process.communicate()


def test_the_quickstart(tmp_path):
    """examples/quickstart.py runs as it stands, and is no longer than fifteen lines of code."""
    program = Program(tmp_path)
    quickstart = ROOT / "examples" / "quickstart.py"
    try:
        done = program.execute([sys.executable, str(quickstart)])
        assert (done.returncode, done.stdout) == (0, "weather: It is sunny in city.\n"), done.stderr
    finally:
        program.run("server", "stop")
    lines = [line for line in quickstart.read_text().splitlines()[1:] if line.strip()]
    assert len(lines) <= 15


def test_the_support_agent(tmp_path):
    """examples/support_agent.py runs with `perdure run`, waits for its approval and pays once."""
    program = Program(tmp_path)
    agent = str(ROOT / "examples" / "support_agent.py")
    process = program.popen(
        "run", agent, "My headphones from order A-1001 arrived broken. Please refund them."
    )
    try:
        told = Told(process)
        told.expect("decide with: perdure approve ")
        execution = told.text.split()[0]
        program.ok("approve", execution)
        told.expect("is on its way")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
        program.run("server", "stop")
