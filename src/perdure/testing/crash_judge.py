"""What a crash test judges: one run that is killed at a point, held against the run that was not.

The points and the failure, the recorder that watches one run, and the judge. How a run is made is its own affair: `CrashTest`
runs in this process on virtual time, `crash_process.ProcessTest` in processes of their own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from perdure.agents.agent import Agent
from perdure.agents.results import AgentResult
from perdure.core import events as ev
from perdure.core.errors import DefinitionError, PerdureError
from perdure.core.ids import content_hash
from perdure.core.model import ModelRequest
from perdure.engine.ports import Commit
from perdure.testing.ledger import ToolAttempt
from perdure.testing.runs import Call, Trial, play
from perdure.testing.tree import RunResult, run_result
from perdure.testing.virtual import VirtualLoop

Victim = Literal["process", "server"]
Moment = Literal["before", "after", "effect"]
VICTIMS: tuple[Victim, ...] = ("process", "server")


class Effects(Protocol):
    """What tools did to the world, one item for each thing done: a list or a dict of the test's own will do."""

    def clear(self) -> None:
        """Forget all: a new run begins."""

    def __iter__(self) -> Any:
        """What was done."""


class FileEffects:
    """What tools appended to a file: one line for each thing done."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def clear(self) -> None:
        """Empty the file."""
        self._path.write_bytes(b"")

    def __iter__(self) -> Iterator[str]:
        """The lines."""
        if not self._path.exists():
            return iter(())
        return iter(self._path.read_text(encoding="utf-8").splitlines())


class CrashTestFailure(AssertionError):  # noqa: N818 - a verdict
    """A kill changed what an agent does; the message has the one call that shows it again."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


@dataclass(frozen=True)
class Point:
    """Where a run is killed; written `process:before:3`."""

    victim: Victim
    moment: Moment
    number: int

    def __str__(self) -> str:
        return f"{self.victim}:{self.moment}:{self.number}"

    @classmethod
    def read(cls, text: str) -> "Point":
        """The point that *text* names.

        Raises:
            DefinitionError: E0106 it names none.
        """
        victim, _, rest = text.partition(":")
        moment, _, number = rest.partition(":")
        if victim in VICTIMS and moment in {"before", "after", "effect"} and number.isdecimal():
            return cls(victim, moment, int(number))  # type: ignore[arg-type]
        raise DefinitionError("E0106", f"{text!r} is no crash point", fix="Write it like `process:before:3`.")


class Recorder:
    """One run, killed at *point*; a `Watch` of its journal."""

    def __init__(self, point: Point | None) -> None:
        self._point = point
        self._commits = 0
        self._calls = 0
        self._over: dict[tuple[str, str], str] = {}  # step -> how its outcome was recorded
        self.wrong: list[str] = []
        self.trial: Trial | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Commits and calls so far."""
        return self._commits, self._calls

    def _strike(self, moment: Moment, number: int) -> bool:
        point = self._point
        if point is None or self.trial is None or (point.moment, point.number) != (moment, number):
            return False
        self._point = None  # once
        self.trial.stage.kill(worker=point.victim == "process")
        return True

    # Of the journal -------------------------------------------------------------------------------------

    def committing(self, commit: Commit) -> bool:  # noqa: ARG002 - the port's
        """Count, and kill before it is written."""
        self._commits += 1
        return not self._strike("before", self._commits)

    def committed(self, commit: Commit) -> None:
        """Remember whose outcome is recorded, and kill before anything follows from it."""
        for step, kind in outcomes(commit):
            self.recorded(commit.execution_id, step, kind)
        self._strike("after", self._commits)

    def recorded(self, execution_id: str, step: str, kind: str) -> None:
        """E3: one outcome for each step."""
        if (execution_id, step) in self._over:
            self.wrong.append(f"E3: step {step} has two recorded outcomes")
        self._over[execution_id, step] = kind

    # Of the worker and the models -----------------------------------------------------------------------

    def began(self, attempt: ToolAttempt) -> None:
        """E4: nothing with an outcome runs again."""
        recorded = self._over.get((attempt.execution_id, attempt.step))
        if recorded is not None:
            self.wrong.append(
                f"E4: {attempt.agent}.{attempt.tool}, step {attempt.step}, ran again (attempt {attempt.epoch}) "
                f"after {recorded} was recorded"
            )

    def ended(self, _attempt: ToolAttempt) -> None:
        """Count, and kill before the result is handed in."""
        self._calls += 1
        self._strike("effect", self._calls)

    def asking(self, request: ModelRequest) -> None:
        """As `asked`."""
        self.asked(request.execution_id, request.step)

    def asked(self, execution_id: str, step: str) -> None:
        """E4: no model is asked again for an answer that is recorded."""
        recorded = self._over.get((execution_id, step))
        if recorded is not None:
            self.wrong.append(f"E4: the model was asked again for {step} after {recorded} was recorded")


_OUTCOMES = (ev.ModelCompleted, ev.ToolCompleted, ev.ToolFailed, ev.ChildCompleted, ev.ChildFailed)


def outcomes(commit: Commit) -> list[tuple[str, str]]:
    """The steps that a commit records an outcome of, with the kind of it; one that is tried again has none yet."""
    return [
        (event.step, ev.kind_of(event))
        for event in commit.events
        if isinstance(event, _OUTCOMES) and getattr(event, "retry_at_ms", None) is None
    ]


class CrashTest:
    """One agent and how it is run; `crash_test` makes and runs it.

    Attributes:
        again: what a call must say besides the point to show a failure again.
        struck: the points at which a run was killed.
    """

    again = ""

    def __init__(
        self,
        agent: Agent,
        call: Call,
        models: Callable[[], Any],
        *,
        tools: Mapping[str, Any] | None,
        approve: Any,
        effects: Effects | None,
        reset: Callable[[], None] | None,
    ) -> None:
        self._agent = agent
        self._call = call
        self._models = models
        self._tools = tools
        self._approve = approve
        self._effects = effects
        self._reset = reset
        self.repeated = 0
        self.struck: list[str] = []

    @property
    def name(self) -> str:
        """The agent's."""
        return self._agent.name

    @property
    def prompt(self) -> str:
        """What it is to do."""
        return self._call.prompt

    def check(self, kill: Victim | Literal["both"]) -> None:
        """Whether *kill* can be killed; here everything can."""

    def points(self, commits: int, calls: int, kill: Victim | Literal["both"]) -> list[Point]:
        """All points of a run with so many commits and calls."""
        return _points(commits, calls, VICTIMS if kill == "both" else (kill,))

    def prepare(self) -> None:
        """Put back what a run changes."""
        if self._effects is not None:
            self._effects.clear()
        if self._reset is not None:
            self._reset()

    def count(self, attempts: Sequence[ToolAttempt]) -> None:
        """Add up what was tried again."""
        self.repeated += len(attempts) - len({(a.execution_id, a.step) for a in attempts})

    def run(self, point: Point | None) -> tuple[RunResult, list[str], tuple[int, int]]:
        """A run from the beginning: its result, what is wrong with it, its commits and calls."""
        self.prepare()
        run = Recorder(point)
        models = self._models()
        models.watch = run.asking

        async def work(loop: VirtualLoop) -> RunResult:
            trial = run.trial = Trial(
                loop, self._agent, models, tools=self._tools, approve=self._approve, watch=run
            )
            trial.ledger.began, trial.ledger.ended = run.began, run.ended
            tree = await trial.run(self._call)
            return run_result(tree, self._agent, attempts=trial.ledger.attempts)

        result = play(work)
        self.count(result.attempts)
        if point is not None:
            self.struck.append(str(point))
        return result, run.wrong + wrong_keys(result.attempts), run.counts

    def tally(self) -> Counter[str]:
        """What the tools did, each thing with how often."""
        return Counter() if self._effects is None else Counter(_name(each) for each in self._effects)

    def judge(self, point: Point, first: RunResult, before: Counter[str]) -> list[str]:
        """Run to *point* and beyond; what is wrong."""
        try:
            result, wrong, _ = self.run(point)
        except (PerdureError, AssertionError) as error:
            return [f"it did not come to its end: {error}"]
        unknown = _unknown(result)
        if not unknown and (end := _end(result)) != (wanted := _end(first)):
            wrong.append(f"it ended as {end}, and not as {wanted}")
        after = self.tally()
        more, less = sorted(after.values()), sorted(before.values())
        if more != less and not (unknown and after.total() <= before.total()):
            wrong.append(f"the tools did {dict(after)}, and not {dict(before)}")
        return wrong


def _unknown(result: RunResult) -> bool:
    """Whether an attempt was lost whose tool is not to be tried again: then the agent was told, and may end otherwise."""
    nodes = () if result.tree is None else result.tree.walk()
    return any(isinstance(e, ev.ToolLost) and e.policy != "retry" for node in nodes for e in node.events)


def wrong_keys(attempts: Iterable[ToolAttempt]) -> list[str]:
    """E6: one key for each call, and one call for each key."""
    keys: dict[tuple[str, str], set[str]] = {}
    for attempt in attempts:
        keys.setdefault((attempt.execution_id, attempt.step), set()).add(attempt.key)
    wrong = [
        f"E6: step {step} had the keys {sorted(found)}" for (_, step), found in keys.items() if len(found) > 1
    ]
    owners = Counter(key for found in keys.values() for key in found)
    return wrong + [f"E6: {count} calls had the key {key}" for key, count in owners.items() if count > 1]


def _end(result: AgentResult) -> dict[str, Any]:
    error = result.error.code if result.error is not None else None
    return {
        "status": result.status.value,
        "finish_reason": str(result.finish_reason),
        "output": result.output,
        "error": error,
    }


def _name(effect: Any) -> str:
    """An effect as a text that is the same for the same thing done."""
    try:
        return effect if isinstance(effect, str) else content_hash(effect)
    except (TypeError, ValueError):
        return repr(effect)


def _points(commits: int, calls: int, kill: Iterable[Victim]) -> list[Point]:
    found = []
    for victim in kill:
        for number in range(1, commits + 1):
            found += [Point(victim, "before", number), Point(victim, "after", number)]
        found += [Point(victim, "effect", number) for number in range(1, calls + 1)]
    return found
