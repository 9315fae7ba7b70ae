"""The fifteen lines of the quickstart, as a newcomer runs them: a file in an empty folder and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.free_port import free_port
from tests.story.stage import plain_environment, until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "quickstart.py"
ANSWER = "weather: It is sunny in city.\n"
FIFTEEN = 15


class Newcomer:
    """A user with an empty home and a folder with one file."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.folder = directory / "folder"
        self.folder.mkdir()
        self.environ = {
            **plain_environment(),
            "PERDURE_HOME": str(self.home),
            "PERDURE_PORT": str(free_port()),
            "PYTHONWARNINGS": "error",
        }

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the folder."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def perdure(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return self.python("-m", "perdure", *arguments)


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    """A newcomer, whose server is stopped at the end whatever happened."""
    found = Newcomer(tmp_path)
    yield found
    assert found.perdure("server", "stop").returncode == 0


def test_the_quickstart_is_fifteen_lines():
    """The example that the README shows is as short as is said, blank lines aside."""
    code = EXAMPLE.read_text(encoding="utf-8").split('"""\n', 1)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= FIFTEEN


def test_the_quickstart_starts_its_own_server(newcomer: Newcomer):
    """The first run starts a server in the background, the second finds it; both print the answer and nothing else."""
    (newcomer.folder / "quickstart.py").write_bytes(EXAMPLE.read_bytes())
    pids = []
    for _ in range(2):
        began = time.monotonic()
        done = newcomer.python("quickstart.py")
        print(f"the quickstart took {time.monotonic() - began:.2f} s")
        assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")
        pids.append((newcomer.home / "server.json").read_text())
    assert pids[0] == pids[1]
    listed = newcomer.perdure("ls").stdout.splitlines()
    assert len(listed) == 3
    assert all("completed" in line for line in listed[1:])
    assert list(newcomer.folder.iterdir()) == [newcomer.folder / "quickstart.py"]


def test_the_quickstart_in_one_process(newcomer: Newcomer):
    """Embedded, the same file needs no server, leaves none behind, and its journal outlives it."""
    code = EXAMPLE.read_text(encoding="utf-8").replace("run, tool", "configure, run, tool")
    code = code.replace(
        'if __name__ == "__main__":\n', 'if __name__ == "__main__":\n    configure(embedded=True)\n'
    )
    (newcomer.folder / "quickstart.py").write_text(code, encoding="utf-8")
    for _ in range(2):
        done = newcomer.python("quickstart.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, ANSWER, "")
    assert not (newcomer.home / "server.json").exists()
    assert (newcomer.home / "embedded" / "perdure.db").exists()


def test_a_program_that_is_killed_leaves_the_server_and_the_next_one_finds_what_was_done(newcomer: Newcomer):
    """SIGKILL in mid-tool: the server that the program had started lives on, and `resume` finishes the execution."""
    (newcomer.folder / "slow.py").write_text(SLOW, encoding="utf-8")
    marker = newcomer.folder / "begun"
    program = subprocess.Popen(
        [sys.executable, "slow.py"], cwd=newcomer.folder, env=newcomer.environ, process_group=0
    )
    try:
        execution_id = until(lambda: marker.exists() and marker.read_text(), "the tool to begin")
    finally:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait(30)
    done = newcomer.python("slow.py", execution_id)
    assert (done.returncode, done.stdout) == (0, "dug for the second time\n"), done.stderr


SLOW = '''\
import pathlib, sys, time
from perdure import Agent, ToolContext, resume, run, tool
from perdure.testing import MockModel, call, text

@tool
def dig(context: ToolContext) -> str:
    """Dig a hole."""
    if context.attempt > 1:
        return "dug for the second time"
    marker = pathlib.Path("begun.draft")
    marker.write_text(context.execution_id)
    marker.rename("begun")
    time.sleep(600)

agent = Agent("digger", MockModel([call("dig"), text("{result:dig}")]), tools=[dig])
handle = resume(sys.argv[1], agent) if sys.argv[1:] else None
print((handle.join() if handle else run(agent, "Dig")).output)
'''
