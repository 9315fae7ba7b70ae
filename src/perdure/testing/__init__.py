"""For tests of agents: models that play a script, runs in process, expectations, recordings, evaluations, crash tests.

    result = mock_run(agent, "Where is order A-1?", script=[call("lookup", order="A-1"), "It is on its way."])
    expect(result).completed().used_tool("lookup").output_contains("on its way")

Nothing needs a server or a key. What runs is the real engine, compiler and worker: only the models, the people and the
disk are stood in for, and waits take no real time. Each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure.testing.approvals import Decision as Decision
    from perdure.testing.crash import CrashReport as CrashReport
    from perdure.testing.crash import CrashTestFailure as CrashTestFailure
    from perdure.testing.crash import crash_test as crash_test
    from perdure.testing.evals import CorrectnessEval as CorrectnessEval
    from perdure.testing.evals import EvalCase as EvalCase
    from perdure.testing.evals import EvalSuiteResult as EvalSuiteResult
    from perdure.testing.expectations import Expectation as Expectation
    from perdure.testing.expectations import expect as expect
    from perdure.testing.judges import Judgement as Judgement
    from perdure.testing.judges import LLMJudge as LLMJudge
    from perdure.testing.judges import assert_output_satisfies as assert_output_satisfies
    from perdure.testing.model import MockModel as MockModel
    from perdure.testing.model import call as call
    from perdure.testing.model import calls as calls
    from perdure.testing.model import text as text
    from perdure.testing.recording import Recording as Recording
    from perdure.testing.recording import record as record
    from perdure.testing.replaying import Divergence as Divergence
    from perdure.testing.replaying import ReplayReport as ReplayReport
    from perdure.testing.replaying import replay as replay
    from perdure.testing.runs import mock_run as mock_run
    from perdure.testing.strategies import StrategyViolation as StrategyViolation
    from perdure.testing.strategies import validate_strategy as validate_strategy
    from perdure.testing.tree import RunResult as RunResult
    from perdure.testing.tree import gather as gather
    from perdure.testing.virtual import VirtualClock as VirtualClock

__all__ = [
    "CorrectnessEval",
    "CrashReport",
    "CrashTestFailure",
    "Decision",
    "Divergence",
    "EvalCase",
    "EvalSuiteResult",
    "Expectation",
    "Judgement",
    "LLMJudge",
    "MockModel",
    "Recording",
    "ReplayReport",
    "RunResult",
    "StrategyViolation",
    "VirtualClock",
    "assert_output_satisfies",
    "call",
    "calls",
    "crash_test",
    "expect",
    "gather",
    "mock_run",
    "record",
    "replay",
    "text",
    "validate_strategy",
]

# module -> the public names behind it
_DOORS: dict[str, tuple[str, ...]] = {
    "perdure.testing.approvals": ("Decision",),
    "perdure.testing.crash": ("CrashReport", "CrashTestFailure", "crash_test"),
    "perdure.testing.evals": ("CorrectnessEval", "EvalCase", "EvalSuiteResult"),
    "perdure.testing.expectations": ("Expectation", "expect"),
    "perdure.testing.judges": ("Judgement", "LLMJudge", "assert_output_satisfies"),
    "perdure.testing.model": ("MockModel", "call", "calls", "text"),
    "perdure.testing.recording": ("Recording", "record"),
    "perdure.testing.replaying": ("Divergence", "ReplayReport", "replay"),
    "perdure.testing.runs": ("mock_run",),
    "perdure.testing.strategies": ("StrategyViolation", "validate_strategy"),
    "perdure.testing.tree": ("RunResult", "gather"),
    "perdure.testing.virtual": ("VirtualClock",),
}
_HOMES = {name: module for module, names in _DOORS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
