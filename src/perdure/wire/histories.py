"""Bodies and answers about executions that are made out of others, and about two that are compared."""

from typing import Any, Literal

import msgspec

from perdure.core.definition import AgentDefinition
from perdure.core.event_base import Origin
from perdure.wire.types import Answer, Body

MakeKind = Literal["retry", "rerun", "fork", "replay"]


class RetryBody(Body, frozen=True):
    """POST /executions/{id}/retry."""

    by: str | None = None
    idempotency_key: str | None = None


class RerunBody(Body, frozen=True):
    """POST /executions/{id}/rerun: the same request again.

    `plan` is same, or current: what is deployed under the agent's name now; `definition` is another agent's. `prompt` and
    `context` stand in the place of the old ones when they are given.
    """

    plan: Literal["same", "current"] = "same"
    definition: AgentDefinition | None = None
    prompt: str | None = None
    context: dict[str, Any] | None = None
    by: str | None = None
    idempotency_key: str | None = None


class EditBody(Body, frozen=True):
    """What stands in the place of what was recorded: at most one of `input`, `answer` (with `calls`) and `result`.

    `instructions`, `model` and `max_turns` change the plan from the point on.
    """

    input: str | None = None
    answer: str | None = None
    calls: tuple[dict[str, Any], ...] = ()
    result: Any = msgspec.UNSET
    instructions: str | None = None
    model: str | None = None
    max_turns: int | None = None


class ForkBody(Body, frozen=True):
    """POST /executions/{id}/fork. `at` is a seq (all up to it stays), or a step's name (it is done again, or edited)."""

    at: int | str | None = None
    edit: EditBody = EditBody()
    by: str | None = None
    idempotency_key: str | None = None


class ReplayBody(Body, frozen=True):
    """POST /executions/{id}/replay: models are asked anew, all other calls are answered from the recording.

    `on_missing` says what is done about a call that was not recorded: the model is told, a person is asked, or it is made.
    """

    model: str | None = None
    instructions: str | None = None
    definition: AgentDefinition | None = None
    on_missing: Literal["fail", "ask", "live"] = "fail"
    by: str | None = None
    idempotency_key: str | None = None


class MadeAnswer(Answer, frozen=True):
    """The new execution. `created` is false when the idempotency key named one that existed."""

    execution_id: str
    agent: str
    plan_hash: str
    created: bool
    worker_tools: list[str]
    origin: str
    kind: MakeKind


class SideAnswer(Answer, frozen=True):
    """One of two executions that are compared. `origin` says out of which it was made, if it was."""

    execution_id: str
    agent: str
    plan_hash: str
    status: str
    turns: int
    input_tokens: int
    output_tokens: int
    output: Any
    error: dict[str, Any] | None
    origin: Origin | None


class StepAnswer(Answer, frozen=True):
    """One step of one execution: what was asked and what came of it."""

    kind: str
    name: str
    given: Any
    outcome: Any
    error: str
    tries: int
    input_tokens: int
    output_tokens: int


class RowAnswer(Answer, frozen=True):
    """A step of either execution, or of both."""

    step: str
    same: bool
    left: StepAnswer | None
    right: StepAnswer | None


class DiffAnswer(Answer, frozen=True):
    """GET /executions/{id}/diff. `first` is the step at which the two part; None: they never do.

    `not_recorded` names the calls of a replay that its recording did not have.
    """

    left: SideAnswer
    right: SideAnswer
    same_output: bool
    first: str | None
    not_recorded: list[str]
    rows: list[RowAnswer]
