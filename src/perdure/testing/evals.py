"""Evaluations: cases over agents, each run once or several times, checked by expectations and judges.

Without a runtime a case runs in process (`mock_run`) with its script; with one it runs on that server with its real
models. A case passes when every one of its runs does, or as many of them as `min_pass_rate` says.
"""

import io
import json
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from perdure.agents.agent import Agent
from perdure.agents.results import AgentResult
from perdure.client.runtime import AgentRuntime
from perdure.core.errors import PerdureError
from perdure.testing.expectations import Expectation, expect, output_text
from perdure.testing.judges import Judgement, LLMJudge, judgement_to_dict
from perdure.testing.model import MockModel
from perdure.testing.runs import mock_run
from perdure.testing.scripts import Scripts
from perdure.testing.strategies import validate_strategy
from perdure.testing.tree import gather


@dataclass(frozen=True)
class EvalCase:
    """One thing that an agent must do.

    Attributes:
        name: for the table.
        agent, prompt: what is run.
        expect_tools: tools that it must call; `expect_tools_not_used`: that it must not.
        expect_tool_args: by tool: arguments that a call of it must have.
        expect_handoff_to, expect_no_handoff_to: who must, and must not, take over.
        expect_output_contains: one text or several; `expect_output_matches`: a regular expression.
        expect_status: completed, failed or cancelled.
        expect_no_errors: no call of a tool may end in an error.
        validate_orchestration: a team must keep to its strategy.
        custom_assertions: called with the result; what they raise is a failure, and so is a False.
        judges: grade the answer.
        repeats: runs.
        min_pass_rate: the share of the runs that must pass, 0 to 1.
        tags: for choosing among cases.
        script, model, tools, approve: for a run in process; see `mock_run`.
    """

    name: str
    agent: Agent
    prompt: str = "Go."
    expect_tools: Sequence[str] = ()
    expect_tools_not_used: Sequence[str] = ()
    expect_tool_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    expect_handoff_to: str | None = None
    expect_no_handoff_to: str | Sequence[str] = ()
    expect_output_contains: str | Sequence[str] = ()
    expect_output_matches: str | None = None
    expect_status: str = "completed"
    expect_no_errors: bool = True
    validate_orchestration: bool = True
    custom_assertions: Sequence[Callable[[Any], Any]] = ()
    judges: Sequence[LLMJudge] = ()
    repeats: int = 1
    min_pass_rate: float = 1.0
    tags: Collection[str] = ()
    script: Scripts | None = None
    model: str | MockModel | None = None
    tools: Mapping[str, Any] | None = None
    approve: Any = None


@dataclass(frozen=True)
class EvalRun:
    """One run of a case: what was wrong, what the judges said, what it took.

    Attributes:
        failures: what was expected and not found; empty: it passed.
        seconds: of the run's own time, which is virtual in process.
    """

    output: str
    status: str
    failures: tuple[str, ...]
    judgements: tuple[Judgement, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    execution_id: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.failures


@dataclass(frozen=True)
class EvalCaseResult:
    """All runs of a case."""

    name: str
    tags: tuple[str, ...]
    runs: tuple[EvalRun, ...]
    min_pass_rate: float

    @property
    def pass_rate(self) -> float:
        """The share of the runs that passed."""
        return sum(run.passed for run in self.runs) / len(self.runs)

    @property
    def passed(self) -> bool:
        """Whether enough runs did."""
        return self.pass_rate >= self.min_pass_rate

    @property
    def score(self) -> float | None:
        """The mean of what the judges gave; None without one."""
        scores = [judgement.score for run in self.runs for judgement in run.judgements]
        return statistics.fmean(scores) if scores else None

    @property
    def failures(self) -> tuple[str, ...]:
        """What was wrong, over all runs, each once."""
        return tuple(dict.fromkeys(failure for run in self.runs for failure in run.failures))


@dataclass(frozen=True)
class EvalSuiteResult:
    """What came of a suite of cases."""

    cases: tuple[EvalCaseResult, ...]

    @property
    def all_passed(self) -> bool:
        """Whether every case did, and there was one."""
        return bool(self.cases) and all(case.passed for case in self.cases)

    @property
    def pass_count(self) -> int:
        """Cases that passed."""
        return sum(case.passed for case in self.cases)

    @property
    def fail_count(self) -> int:
        """Cases that did not."""
        return self.total - self.pass_count

    @property
    def total(self) -> int:
        """All cases."""
        return len(self.cases)

    def failed_cases(self) -> list[EvalCaseResult]:
        """Those that did not pass."""
        return [case for case in self.cases if not case.passed]

    def summary(self) -> str:
        """The table as plain text."""
        table = Table(title=f"{self.pass_count} of {self.total} cases passed")
        for heading in ("case", "result", "runs", "score", "tokens", "seconds", "what was wrong"):
            table.add_column(heading)
        for case in self.cases:
            good = sum(run.passed for run in case.runs)
            table.add_row(
                case.name,
                "passed" if case.passed else "FAILED",
                f"{good}/{len(case.runs)}",
                "" if case.score is None else f"{case.score:.2f}",
                str(round(statistics.fmean(run.tokens for run in case.runs))),
                f"{statistics.fmean(run.seconds for run in case.runs):.1f}",
                "\n".join(failure.splitlines()[0] for failure in case.failures),
            )
        text = io.StringIO()
        Console(file=text, width=120, no_color=True).print(table)
        return text.getvalue()

    def print_summary(self, file: TextIO | None = None) -> None:
        """Write the table to *file* or standard output."""
        Console(file=file, width=120, no_color=True).print(self.summary(), markup=False, highlight=False)

    def to_json(self, path: str | Path | None = None) -> str:
        """All of it as JSON; written to *path* too, when one is given."""
        text = json.dumps(
            {
                "passed": self.all_passed,
                "pass_count": self.pass_count,
                "fail_count": self.fail_count,
                "cases": [_case_to_dict(case) for case in self.cases],
            },
            indent=2,
            ensure_ascii=False,
        )
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text


class CorrectnessEval:
    """Runs cases.

    Args:
        runtime: the server that they run on, with their real models; None: in process, each with its script.
    """

    def __init__(self, runtime: AgentRuntime | None = None) -> None:
        self._runtime = runtime

    def run(
        self, cases: Sequence[EvalCase], *, tags: Collection[str] = (), repeats: int | None = None
    ) -> EvalSuiteResult:
        """Run the cases, those with one of *tags* when there are any; *repeats* instead of each case's own."""
        chosen = [case for case in cases if not tags or set(tags) & set(case.tags)]
        return EvalSuiteResult(tuple(self._case(case, repeats or case.repeats) for case in chosen))

    def _case(self, case: EvalCase, repeats: int) -> EvalCaseResult:
        runs = tuple(self._once(case) for _ in range(max(1, repeats)))
        return EvalCaseResult(case.name, tuple(case.tags), runs, case.min_pass_rate)

    def _once(self, case: EvalCase) -> EvalRun:
        try:
            result = self._result(case)
        except PerdureError as error:
            return EvalRun("", "error", (f"it did not come to an end: {error}",))
        failures = [failure for check in _checks(case) if (failure := _failure(check, result)) is not None]
        judgements = []
        for judge in case.judges:
            try:
                judgement = judge.judge(output_text(result), case.prompt)
            except PerdureError as error:
                judgement = Judgement(judge.criterion, 0.0, False, f"the judge failed: {error}")
            judgements.append(judgement)
            if not judgement.passed:
                failures.append(f"judged {judgement.score:.2f}: {judgement.criterion} ({judgement.reason})")
        return EvalRun(
            output_text(result),
            result.status.value,
            tuple(failures),
            tuple(judgements),
            result.usage.total_tokens,
            result.elapsed_ms / 1000,
            result.execution_id,
        )

    def _result(self, case: EvalCase) -> Any:
        if self._runtime is not None:
            return gather(self._runtime.run(case.agent, case.prompt), self._runtime, case.agent)
        return mock_run(
            case.agent,
            case.prompt,
            script=case.script,
            model=case.model,
            tools=case.tools,
            approve=case.approve,
        )


def _checks(case: EvalCase) -> list[Callable[[AgentResult], Any]]:
    """What a case says, as functions of the result that raise when it is not so."""
    named: list[tuple[str, tuple[Any, ...]]] = [("status", (case.expect_status,))]
    named += [("no_errors", ())] if case.expect_no_errors and case.expect_status == "completed" else []
    named += [("used_tool", (name,)) for name in case.expect_tools]
    named += [("did_not_use_tool", (name,)) for name in case.expect_tools_not_used]
    named += [("used_tool", (name, args)) for name, args in case.expect_tool_args.items()]
    named += [("handoff_to", (case.expect_handoff_to,))] if case.expect_handoff_to else []
    named += [("no_handoff_to", (name,)) for name in _several(case.expect_no_handoff_to)]
    named += [("output_contains", (text,)) for text in _several(case.expect_output_contains)]
    named += [("output_matches", (case.expect_output_matches,))] if case.expect_output_matches else []
    checks: list[Callable[[AgentResult], Any]] = [_expected(name, arguments) for name, arguments in named]
    if case.validate_orchestration and any(one.agents for one in case.agent.tree()):
        checks.append(lambda result: validate_strategy(case.agent, result))
    return [*checks, *case.custom_assertions]


def _expected(name: str, arguments: tuple[Any, ...]) -> Callable[[AgentResult], Expectation]:
    def check(result: AgentResult) -> Expectation:
        found: Expectation = getattr(expect(result), name)(*arguments)
        return found

    return check


def _failure(check: Callable[[AgentResult], Any], result: AgentResult) -> str | None:
    """What is wrong. A check that raises anything has failed: it never counts as a yes (E8)."""
    name = getattr(check, "__name__", "assertion")
    try:
        said = check(result)
    except AssertionError as error:
        return str(error) or f"{name} failed"
    except Exception as error:  # noqa: BLE001 - a user's assertion may raise anything
        return f"{name} raised {type(error).__name__}: {error}"
    return f"{name} gave False" if said is False else None


def _several(given: str | Sequence[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given


def _case_to_dict(case: EvalCaseResult) -> dict[str, Any]:
    return {
        "name": case.name,
        "tags": list(case.tags),
        "passed": case.passed,
        "pass_rate": case.pass_rate,
        "score": case.score,
        "runs": [
            {
                "passed": run.passed,
                "status": run.status,
                "output": run.output,
                "failures": list(run.failures),
                "judgements": [judgement_to_dict(each) for each in run.judgements],
                "tokens": run.tokens,
                "seconds": run.seconds,
                "execution_id": run.execution_id,
            }
            for run in case.runs
        ],
    }
