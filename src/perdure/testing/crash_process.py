"""Crash tests in real processes: a child that kills itself with SIGKILL, and a second one that takes its run up.

Child and journal are real, and so is time: a child takes half a second or more, and the one that follows a kill waits until
the dead worker's lease has run out (`crash_child.LEASE_MS`). What is judged, and by whom, is as on virtual time.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgspec

from perdure.agents.agent import Agent
from perdure.core.errors import ClientError, DefinitionError, from_wire
from perdure.testing.carried import carry
from perdure.testing.crash_child import ANSWER, ERRAND, FACTS, Answer, Errand, Told
from perdure.testing.crash_facts import Asking, Began, Fact, Facts, Outcome, attempts_of
from perdure.testing.crash_judge import CrashTest, FileEffects, Point, Recorder, Victim, wrong_keys
from perdure.testing.runs import Call
from perdure.testing.tree import Node, RunResult, read_events, run_result

TIMEOUT_S = 60.0
_START_S = 30.0  # for the interpreter and its imports on a busy machine, beyond the run's own time
_LAST_WORDS = 2_000


class ProcessTest(CrashTest):
    """A `CrashTest` whose runs are child processes.

    Args:
        agent: the agent, as this process has it.
        path: `module:attribute`, where the child gets it.
        call: what the run is started with.
        given: what the child is to have besides: `script`, `model`, `tools` and `approve`.
        effects: the file that the tools append to.
        reset: called before each run.

    Raises:
        DefinitionError: E0106 something of it cannot reach another process; this is Windows.
    """

    again = "mode='process', "

    def __init__(
        self,
        agent: Agent,
        path: str,
        call: Call,
        given: dict[str, Any],
        *,
        effects: FileEffects | None,
        reset: Any,
    ) -> None:
        check_platform(sys.platform)
        super().__init__(agent, call, _no_models, tools=None, approve=None, effects=effects, reset=reset)
        carried: dict[str, Any] = {
            name: carry(value, f"{name}= of the crash test") for name, value in given.items()
        }
        self._errand = Errand(
            agent=path,
            prompt=call.prompt,
            context=None if call.context is None else dict(call.context),
            messages=list(call.messages),
            timeout=call.timeout,
            **carried,
        )

    def check(self, kill: Victim | Literal["both"]) -> None:
        """Whether *kill* can be killed.

        Raises:
            DefinitionError: E0106 it is the server alone.
        """
        if kill == "server":
            raise DefinitionError(
                "E0106",
                "A crash test in processes cannot kill the server alone",
                why="The child is server and worker in one.",
                fix="Leave kill= out, or mode='process'.",
            )

    def points(self, commits: int, calls: int, kill: Victim | Literal["both"]) -> list[Point]:  # noqa: ARG002 - see `check`
        """Those of the one process that there is, server and worker at once."""
        return super().points(commits, calls, "process")

    def run(self, point: Point | None) -> tuple[RunResult, list[str], tuple[int, int]]:
        """A run from the beginning, in one child, or in two when *point* kills the first."""
        self.prepare()
        with tempfile.TemporaryDirectory(prefix="perdure-crash-") as folder:
            home = Path(folder)
            answer = self._child(home, point)
            if answer is None:
                self.struck.append(str(point))
                answer = self._child(home, None)
            if answer is None or answer.tree is None:
                raise ClientError("E0705", "The run did not end: its process was killed by somebody else")
            facts = Facts(home / FACTS).read()
        attempts = attempts_of(facts)
        self.count(attempts)
        result = run_result(_node(answer.tree), self._agent, attempts=attempts)
        return result, _judged(facts) + wrong_keys(attempts), (answer.commits, answer.calls)

    def _child(self, home: Path, point: Point | None) -> Answer | None:
        """Run a child to its end; None: it was killed."""
        errand = self._errand
        if point is not None:
            errand = msgspec.structs.replace(errand, moment=point.moment, number=point.number)
        (home / ERRAND).write_bytes(msgspec.json.encode(errand))
        # What this process can import, the child can: a test's own folder is often known to it alone.
        paths = os.pathsep.join(each or str(Path.cwd()) for each in sys.path)
        try:
            child = subprocess.run(  # noqa: S603 - this interpreter, and a folder that was made here
                [sys.executable, "-m", "perdure.testing.crash_child", str(home)],
                env=os.environ | {"PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._errand.timeout + _START_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClientError(
                "E0705",
                f"The run did not end: its process was still there after {error.timeout:g} s",
                where=f"agent {self._agent.name}",
                fix="Give it more time with timeout=...",
            ) from error
        if child.returncode == -signal.SIGKILL:
            return None
        if child.returncode != 0:
            raise ClientError(
                "E0705",
                f"The run did not end: its process failed with exit code {child.returncode}",
                where=f"agent {self._agent.name}",
                why=child.stderr[-_LAST_WORDS:].strip(),
                fix="What it needs must be there in a new process, too.",
            )
        answer = msgspec.json.decode((home / ANSWER).read_bytes(), type=Answer)
        if answer.error is not None:
            raise from_wire(answer.error)
        return answer


def check_platform(platform: str) -> None:
    """Whether processes can be killed there.

    Raises:
        DefinitionError: E0106 not on Windows.
    """
    if platform == "win32":
        raise DefinitionError(
            "E0106",
            "A crash test in processes does not run on Windows",
            why="There is no SIGKILL.",
            fix="Leave mode='process' out there.",
        )


def _no_models() -> Any:
    raise NotImplementedError("the models are made in the child")


def _judged(facts: list[Fact]) -> list[str]:
    """What the recorder of a run has to say about what both children told."""
    recorder = Recorder(None)
    attempts = iter(attempts_of(facts))
    for fact in facts:
        if isinstance(fact, Began):
            recorder.began(next(attempts))
        elif isinstance(fact, Outcome):
            recorder.recorded(fact.execution_id, fact.step, fact.kind)
        elif isinstance(fact, Asking):
            recorder.asked(fact.execution_id, fact.step)
    return recorder.wrong


def _node(told: Told) -> Node:
    children = {step: _node(child) for step, child in told.children.items()}
    return Node(told.path, told.answer, told.records, read_events(told.records), children)
