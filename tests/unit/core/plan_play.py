"""`PlanPlay`: a play of a team of plan_execute, and the plans that it is given."""

from typing import Any

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.machines.draft import Applied
from perdure.core.messages import Message, TextPart
from perdure.core.model import ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Member, Plan, TeamPlan
from perdure.core.requests import assemble
from tests.unit.core.plans import AMOUNT, plan, tool
from tests.unit.core.play import FAULT, Play

__all__ = ["FAULT", "NO_MODEL", "TOOLS", "PlanPlay", "op", "step", "steps", "team_plan"]

NO_MODEL = ModelRef("", "")
WRITE = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
TOOLS = dict(
    [
        tool("fetch", {}),
        tool("write", WRITE),
        tool("check", {}),
        tool("tell", {}),
        tool("once", {}, max_calls=1),
        tool("refund", AMOUNT, approval_required=True),
        tool("ask", {}, kind="human", answer_schema={"type": "object", "required": ["answer"]}),
        tool("listen", {}, kind="message"),
        tool("helper_agent", {}, kind="agent", agent=Member("expert", "h1")),
    ]
)


def op(name: str, **args: Any) -> dict[str, Any]:
    """An operation of a plan."""
    return {"tool": name, "args": args}


def step(name: str, *operations: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A step of a plan."""
    return {"id": name, "operations": list(operations), **fields}


def steps(*given: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A plan."""
    return {"steps": list(given), **fields}


def team_plan(
    fixed: dict[str, Any] | None = None, *, team: dict[str, Any] | None = None, **changed: Any
) -> Plan:
    """The compiled plan of a team with a fixed plan, or with a planner."""
    fields: dict[str, Any] = {"plan": fixed} if fixed is not None else {"planner": Member("planner", "h0")}
    made = TeamPlan("plan_execute", (), **(fields | (team or {})))
    return plan(**({"tools": TOOLS, "team": made} | changed))


class PlanPlay(Play):
    """A play with the inputs that plans need."""

    def begin(self, text: str = "Do it", **fields: Any) -> "PlanPlay":
        """Start the execution."""
        super().begin(text, **fields)
        return self

    def write(self, step: str, text: str) -> Applied:
        """The model answers that writes arguments."""
        answer = ModelReply(Message("assistant", (TextPart(text),)), Usage(10, 2), "stop")
        return self.give(inp.ModelSucceeded(step, self.state.steps[step].attempt, answer, 5))

    def fail(self, step: str, *, retryable: bool = False) -> Applied:
        """A worker takes a step and fails."""
        self.take(step)
        return self.fails(step, retryable=retryable)

    @property
    def open(self) -> list[str]:
        """The open steps."""
        return sorted(self.state.steps)

    def asked(self, step: str) -> ModelRequest:
        """The request of a model step."""
        return assemble(self.plan, self.transcript, self.execution_id, step, 1)

    @property
    def refusals(self) -> list[ev.ToolRefused]:
        """The calls that were refused."""
        return self.of(ev.ToolRefused)
