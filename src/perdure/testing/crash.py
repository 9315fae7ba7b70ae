"""Crash tests: an agent, killed at every boundary of its journal, must come to the same end and do nothing twice.

The agent runs once to its end, and the commits of its journal and the calls of its functions are counted. Then it runs
again and again, and each run is killed at one place:

    before:N   commit N was asked for and is not written: what it would have recorded happened, and nobody knows
    after:N    commit N is written, and nothing that follows from it has begun
    effect:N   the function call N has returned, and its result has not been handed in

`process` kills server and worker at once, as when they are one process; `server` the server alone, whose worker lives on
and hands in what it has. What was killed is started again on the same journal. With `mode="process"` it is a process of the
system that is killed, by SIGKILL, and the journal is on disk (`crash_process`). In the end the run is judged:

* it ended as the first run did: status, answer, reason, error;
* no step with a recorded outcome was run again (E4), and no result was recorded twice (E3);
* every attempt of a call had the same idempotency key, and no two calls had one key (E6);
* what the tools really did, as `effects` counts it, happened as often as in the first run.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perdure.agents.agent import Agent
from perdure.core.errors import DefinitionError
from perdure.engine.ports import Models
from perdure.testing.approvals import Approve
from perdure.testing.carried import import_path, load_agent
from perdure.testing.crash_judge import CrashTest, CrashTestFailure, Effects, FileEffects, Point, Victim
from perdure.testing.crash_process import TIMEOUT_S as PROCESS_TIMEOUT_S
from perdure.testing.crash_process import ProcessTest
from perdure.testing.model import MockModel
from perdure.testing.runs import TIMEOUT_S, Call, models_of, quiet
from perdure.testing.scripts import Scripts
from perdure.testing.tree import RunResult

__all__ = ["CrashReport", "CrashTestFailure", "crash_test"]


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


def crash_test(
    agent: Agent | str,
    prompt: str = "Go.",
    *,
    script: Scripts | None = None,
    model: str | MockModel | Models | None = None,
    tools: Mapping[str, Any] | None = None,
    approve: Approve = None,
    effects: Effects | Path | None = None,
    reset: Callable[[], None] | None = None,
    context: Mapping[str, Any] | None = None,
    messages: Sequence[str] = (),
    kill: Victim | Literal["both"] = "both",
    mode: Literal["virtual", "process"] = "virtual",
    only: str | Sequence[str] | None = None,
    every: int = 1,
    timeout: float | None = None,
) -> CrashReport:
    """Kill an agent at every boundary of its journal; see the module for what is killed and judged.

    By default it runs in this process on virtual time, a few milliseconds a run. The models' script, and whatever else a
    run depends on, must give the same in each run. A tool whose `on_unknown` is `fail` or `ask` may end otherwise where an
    attempt at it was cut off, for the agent is told so; its effects must still not be more.

    With `mode="process"` each run is a child process with its journal on disk, which kills itself with SIGKILL; a second
    child takes the run up. All time is real: count one to three seconds a point, and sample with `every`. Agent, `model`,
    `tools`, and whatever of `script` and `approve` is more than plain data, must be attributes of a module that the child
    can import. The child has this process's environment and `sys.path`. Points that a run did not come to are not in the
    report. Not on Windows.

    Args:
        agent: the agent; or `module:attribute`, an agent or a function that makes one.
        prompt: see `mock_run`.
        script: see `mock_run`.
        model: see `mock_run`.
        tools: see `mock_run`.
        approve: see `mock_run`.
        context: see `mock_run`.
        messages: see `mock_run`.
        timeout: seconds for one run: a day of virtual time, or a minute in a process.
        effects: what the tools did, one item for each thing done: a list, a dict by idempotency key, anything with
            `clear()` that can be gone through; or a file that they append a line to, as it must be for processes. Of
            tools that honour their key, that is: list only what must not happen twice.
        reset: called before each run, to put back what the tools change.
        kill: `process` (server and worker), `server`, or both, one after the other; a child process is always both in one.
        mode: `virtual` or `process`.
        only: one point, as a failure names it, or several.
        every: each so-manieth point alone.

    Raises:
        CrashTestFailure: a run that was killed is not as the one that was not.
        DefinitionError: E0106 an option, or something that cannot reach a child process.
        PerdureError: the undisturbed run does not come to its end; see `mock_run`.
    """
    if every < 1:
        raise DefinitionError("E0106", f"every must be 1 or more, not {every}")
    given = {"script": script, "model": model, "tools": tools, "approve": approve}
    if timeout is None:
        timeout = PROCESS_TIMEOUT_S if mode == "process" else TIMEOUT_S
    call = Call(prompt, context=context, timeout=timeout, messages=messages)
    test: CrashTest
    if mode == "process":
        test = _in_processes(agent, call, given, effects, reset)
    elif mode == "virtual":
        test = _on_virtual_time(agent, call, given, effects, reset)
    else:
        raise DefinitionError("E0106", f"{mode!r} is no mode", fix="Say 'virtual' or 'process'.")
    return _tested(test, kill, only, every)


def _on_virtual_time(
    agent: Agent | str, call: Call, given: dict[str, Any], effects: Effects | Path | None, reset: Any
) -> CrashTest:
    agent = load_agent(agent) if isinstance(agent, str) else agent
    name = agent.name
    return CrashTest(
        agent,
        call,
        lambda: models_of(given["script"], given["model"], name),
        tools=given["tools"],
        approve=given["approve"],
        effects=FileEffects(effects) if isinstance(effects, Path) else effects,
        reset=reset,
    )


def _in_processes(
    agent: Agent | str, call: Call, given: dict[str, Any], effects: Effects | Path | None, reset: Any
) -> CrashTest:
    if effects is not None and not isinstance(effects, Path):
        raise DefinitionError(
            "E0106",
            "The effects of a crash test in processes must be a file",
            why=f"What a child puts into a {type(effects).__name__} is gone with the child.",
            fix="Let the tools append a line to a file, and give its Path.",
        )
    path = agent if isinstance(agent, str) else import_path(agent, f"The agent {agent.name!r}")
    return ProcessTest(
        load_agent(path),
        path,
        call,
        given,
        effects=None if effects is None else FileEffects(effects),
        reset=reset,
    )


def _tested(
    test: CrashTest, kill: Victim | Literal["both"], only: str | Sequence[str] | None, every: int
) -> CrashReport:
    named = (
        None if only is None else [Point.read(each) for each in ([only] if isinstance(only, str) else only)]
    )
    test.check(kill)
    first, wrong, (commits, calls) = test.run(None)
    if wrong:
        raise CrashTestFailure(f"the undisturbed run of {test.name} is wrong: {'; '.join(wrong)}")
    before = test.tally()
    points = test.points(commits, calls, kill) if named is None else named
    test.repeated = 0
    for point in points[::every]:
        with quiet():
            wrong = test.judge(point, first, before)
        if wrong:
            listed = "\n".join(f"  - {each}" for each in wrong)
            raise CrashTestFailure(
                f"{test.name}, killed at {point}, is not what it is undisturbed:\n{listed}\n"
                f"  again: crash_test({test.name}, {shlex.quote(test.prompt)}, ..., {test.again}only={str(point)!r})"
            )
    return CrashReport(commits, calls, tuple(test.struck), test.repeated, before.total(), first)
