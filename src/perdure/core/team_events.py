"""Events of what stands around the model and its tools: functions, children, teams, guardrails and callbacks.

They are part of `core.events`, which says what holds for all of them.
"""

from typing import Any, ClassVar, Literal

from perdure.core.event_base import ErrorInfo, Event, Handover, HistoryRef, Origin
from perdure.core.messages import Message
from perdure.core.model import Usage
from perdure.core.plan_steps import StepPlan

# Functions on workers -----------------------------------------------------------------------------------


class FunctionRequested(Event, frozen=True, omit_defaults=True, tag="function_requested"):
    """A worker is asked to run a function of the agent's, such as a router; its attempts are those of a tool step.

    `agent` is whose function it is. What is decided by its result is said by another event of the same commit.
    """

    BODY: ClassVar[str | None] = "arguments"
    step: str
    function: str
    agent: str
    arguments: dict[str, Any]
    key: str


# Child executions ---------------------------------------------------------------------------------------

ChildRole = Literal["member", "router", "planner", "fallback", "tool", "handoff"]


class ChildRequested(Event, frozen=True, omit_defaults=True, tag="child_requested"):
    """A child execution begins; its id is decided here, so that it begins once.

    `plan_hash` is None for an agent by name: what is deployed when it begins. `call_id` names the tool call that asked
    for it. The child sees `history`, then `input`. `origin` is the execution whose journal it goes on from.
    """

    BODY: ClassVar[str | None] = "input"
    step: str
    child_id: str
    agent: str
    input: Message
    plan_hash: str | None = None
    role: ChildRole = "member"
    call_id: str | None = None
    tool: str = ""
    history: HistoryRef | None = None
    origin: Origin | None = None


class ChildCompleted(Event, frozen=True, omit_defaults=True, tag="child_completed"):
    """The child's answer, once. `usage` is that of the child and all below it."""

    BODY: ClassVar[str | None] = "output"
    step: str
    output: Any
    finish_reason: str = "stop"
    usage: Usage = Usage()
    handover: Handover | None = None


class ChildFailed(Event, frozen=True, omit_defaults=True, tag="child_failed"):
    """The child ended without an answer; `status` is failed or cancelled."""

    step: str
    error: ErrorInfo
    status: Literal["failed", "cancelled"] = "failed"
    usage: Usage = Usage()


# Guardrails and callbacks -------------------------------------------------------------------------------


class JudgeRequested(Event, frozen=True, omit_defaults=True, tag="judge_requested"):
    """An attempt at asking a model about `content` begins; its answer is judged, and no part of the conversation."""

    BODY: ClassVar[str | None] = "content"
    step: str
    guard: str
    content: Any
    tool: str = ""
    attempt: int = 1


class GuardDecided(Event, frozen=True, omit_defaults=True, tag="guard_decided"):
    """What a guardrail said of a `subject`: in (the input), out (the answer), or a tool call.

    `action` is what is done about a failed one: retry, raise, fix or human.
    """

    subject: str
    guard: str
    passed: bool
    action: str = ""
    message: str = ""


class HookEnded(Event, frozen=True, omit_defaults=True, tag="hook_ended"):
    """A callback, or the function of the instructions, has run; `fields` are what it changed."""

    subject: str
    hook: str
    fields: tuple[str, ...] = ()
    turn: int = 0


class Replaced(Event, frozen=True, omit_defaults=True, tag="replaced"):
    """From here on `value` stands for what the subject was; `by` says whose doing it is."""

    BODY: ClassVar[str | None] = "value"
    subject: str
    value: Any
    by: str


class AnswerProposed(Event, frozen=True, omit_defaults=True, tag="answer_proposed"):
    """An answer that is judged before it is taken."""

    BODY: ClassVar[str | None] = "output"
    subject: str
    output: Any
    finish_reason: str = "stop"
    reason: str = ""
    handover: Handover | None = None


# Teams --------------------------------------------------------------------------------------------------


class AgentChosen(Event, frozen=True, omit_defaults=True, tag="agent_chosen"):
    """Who goes on. `by` is order, draw, router, person, handover, condition, or synthesis (the team's own model).

    `last`: that agent's answer is the team's.
    """

    agent: str
    by: str
    reason: str = ""
    last: bool = False


class HandoffDecided(Event, frozen=True, omit_defaults=True, tag="handoff_decided"):
    """Whether a handoff condition that is a function lets this agent take over."""

    agent: str
    met: bool


class GateDecided(Event, frozen=True, omit_defaults=True, tag="gate_decided"):
    """Whether the pipeline goes on after this agent."""

    agent: str
    open: bool
    reason: str = ""


class StopDecided(Event, frozen=True, omit_defaults=True, tag="stop_decided"):
    """Whether a stop condition that is a function ends the loop after this turn."""

    turn: int
    stop: bool


# Plans of plan_execute ----------------------------------------------------------------------------------


class PlanAccepted(Event, frozen=True, omit_defaults=True, tag="plan_accepted"):
    """A plan was checked and is carried out from here on. `by` is planner, or definition (a fixed plan)."""

    BODY: ClassVar[str | None] = "plan"
    plan: StepPlan
    by: Literal["planner", "definition"] = "planner"


class PlanRejected(Event, frozen=True, omit_defaults=True, tag="plan_rejected"):
    """What the planner gave cannot be carried out; `errors` go back to it, if it may try again."""

    errors: tuple[str, ...]


class PlanFailed(Event, frozen=True, omit_defaults=True, tag="plan_failed"):
    """The plan goes no further: an operation has failed, a validation does not hold, or there is no plan.

    `operation` is the step of the one that failed, if one did; `stopped` are the steps that were open and are no more.
    """

    errors: tuple[str, ...]
    operation: str = ""
    stopped: tuple[str, ...] = ()


class ArgumentsRequested(Event, frozen=True, omit_defaults=True, tag="arguments_requested"):
    """An attempt at having a model write the arguments of a call begins; its answer is no part of the conversation.

    `shape` is what the plan says of them, besides the tool's own schema. `tries` counts from 1; from the second on,
    `answer` is what the model wrote before, and `errors` what is wrong with it.
    """

    BODY: ClassVar[str | None] = "context"
    step: str
    tool: str
    instructions: str
    context: Any = None
    shape: Any = None
    max_tokens: int | None = None
    attempt: int = 1
    tries: int = 1
    answer: str = ""
    errors: tuple[str, ...] = ()


# Budgets ------------------------------------------------------------------------------------------------


class BudgetReached(Event, frozen=True, omit_defaults=True, tag="budget_reached"):
    """A step is not made, because a limit stands in the way.

    `owner` is the execution whose budget it is; `limit` is cost, tokens, model_calls, tool_calls or seconds; `action` what
    is done: stop, ask, downgrade (to `model`) or finish.
    """

    step: str
    owner: str
    limit: str
    why: str
    action: str
    model: str = ""


class BudgetGranted(Event, frozen=True, omit_defaults=True, tag="budget_granted"):
    """A person allowed as much again of what had run out."""

    owner: str
    limit: str
    by: str
