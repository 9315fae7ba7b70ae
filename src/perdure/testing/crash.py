"""Crash tests: an agent, killed at every boundary of its journal, must come to the same end and do nothing twice.

The agent runs once to its end, and the commits of its journal and the calls of its functions are counted. Then it runs
again and again, and each run is killed at one place:

    before:N   commit N was asked for and is not written: what it would have recorded happened, and nobody knows
    after:N    commit N is written, and nothing that follows from it has begun
    effect:N   the function call N has returned, and its result has not been handed in

`process` kills server and worker at once, as when they are one process; `server` the server alone, whose worker lives on
and hands in what it has. What was killed is started again on the same journal. In the end the run is judged:

* it ended as the first run did: status, answer, reason, error;
* no step with a recorded outcome was run again (E4), and no result was recorded twice (E3);
* every attempt of a call had the same idempotency key, and no two calls had one key (E6);
* what the tools really did, as `effects` counts it, happened as often as in the first run.
"""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from perdure.agents.agent import Agent
from perdure.agents.results import AgentResult
from perdure.core import events as ev
from perdure.core.errors import DefinitionError, PerdureError
from perdure.core.ids import content_hash
from perdure.core.model import ModelRequest
from perdure.engine.ports import Commit, Models
from perdure.testing.approvals import Approve
from perdure.testing.ledger import ToolAttempt
from perdure.testing.model import MockModel
from perdure.testing.runs import TIMEOUT_S, Call, Trial, models_of, play, quiet
from perdure.testing.scripts import Scripts
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


@dataclass(frozen=True)
class CrashReport:
    """What a crash test did.

    Attributes:
        commits, calls: boundaries of the undisturbed run: its commits, and the calls of its functions.
        points: where it was killed, each in a run of its own.
        repeated: attempts that were made again because the one before it was cut off, over all runs.
        effects: what the tools did in the undisturbed run, as `effects` counts it.
        result: the undisturbed run.
    """

    commits: int
    calls: int
    points: tuple[str, ...]
    repeated: int
    effects: int
    result: RunResult = field(repr=False)

    def __str__(self) -> str:
        return (
            f"{len(self.points)} kills at {self.commits} commits and {self.calls} calls: same outcome each time; "
            f"{self.repeated} attempts made again; {self.effects} effects, none doubled"
        )


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
        for event in commit.events:
            if isinstance(event, _OUTCOMES) and getattr(event, "retry_at_ms", None) is None:
                step = (commit.execution_id, event.step)
                if step in self._over:
                    self.wrong.append(f"E3: step {event.step} has two recorded outcomes")
                self._over[step] = ev.kind_of(event)
        self._strike("after", self._commits)

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
        """E4: no model is asked again for an answer that is recorded."""
        recorded = self._over.get((request.execution_id, request.step))
        if recorded is not None:
            self.wrong.append(
                f"E4: the model was asked again for {request.step} after {recorded} was recorded"
            )


_OUTCOMES = (ev.ModelCompleted, ev.ToolCompleted, ev.ToolFailed, ev.ChildCompleted, ev.ChildFailed)


class CrashTest:
    """One agent and how it is run; `crash_test` makes and runs it."""

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

    def run(self, point: Point | None) -> tuple[RunResult, list[str], tuple[int, int]]:
        """A run from the beginning: its result, what is wrong with it, its commits and calls."""
        if self._effects is not None:
            self._effects.clear()
        if self._reset is not None:
            self._reset()
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
        self.repeated += len(result.attempts) - len({(a.execution_id, a.step) for a in result.attempts})
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


def crash_test(
    agent: Agent,
    prompt: str = "Go.",
    *,
    script: Scripts | None = None,
    model: str | MockModel | Models | None = None,
    tools: Mapping[str, Any] | None = None,
    approve: Approve = None,
    effects: Effects | None = None,
    reset: Callable[[], None] | None = None,
    context: Mapping[str, Any] | None = None,
    messages: Sequence[str] = (),
    kill: Victim | Literal["both"] = "both",
    only: str | None = None,
    timeout: float = TIMEOUT_S,
) -> CrashReport:
    """Kill an agent at every boundary of its journal; see the module for what is killed and judged.

    It runs in this process on virtual time, a few milliseconds a run. The models' script, and whatever else a run depends
    on, must give the same in each run. A tool whose `on_unknown` is `fail` or `ask` may end otherwise where an attempt
    at it was cut off, for the agent is told so; its effects must still not be more.

    Args:
        agent: the agent.
        prompt: see `mock_run`.
        script: see `mock_run`.
        model: see `mock_run`.
        tools: see `mock_run`.
        approve: see `mock_run`.
        context: see `mock_run`.
        messages: see `mock_run`.
        timeout: see `mock_run`.
        effects: what the tools did, one item for each thing done: a list, a dict by idempotency key, anything with
            `clear()` that can be gone through. Of tools that honour their key, that is: list only what must not happen
            twice.
        reset: called before each run, to put back what the tools change.
        kill: `process` (server and worker), `server`, or both, one after the other.
        only: one point, as a failure names it.

    Raises:
        CrashTestFailure: a run that was killed is not as the one that was not.
        PerdureError: the undisturbed run does not come to its end; see `mock_run`.
    """
    call = Call(prompt, context=context, timeout=timeout, messages=messages)
    test = CrashTest(
        agent,
        call,
        lambda: models_of(script, model, agent.name),
        tools=tools,
        approve=approve,
        effects=effects,
        reset=reset,
    )
    first, wrong, (commits, calls) = test.run(None)
    if wrong:
        raise CrashTestFailure(f"the undisturbed run of {agent.name} is wrong: {'; '.join(wrong)}")
    before = test.tally()
    victims = VICTIMS if kill == "both" else (kill,)
    points = _points(commits, calls, victims) if only is None else [Point.read(only)]
    test.repeated = 0
    for point in points:
        with quiet():
            wrong = test.judge(point, first, before)
        if wrong:
            listed = "\n".join(f"  - {each}" for each in wrong)
            raise CrashTestFailure(
                f"{agent.name}, killed at {point}, is not what it is undisturbed:\n{listed}\n"
                f"  again: crash_test({agent.name}, {shlex.quote(prompt)}, ..., only={str(point)!r})"
            )
    return CrashReport(commits, calls, tuple(map(str, points)), test.repeated, before.total(), first)
