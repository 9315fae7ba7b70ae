"""`PlanPlay`: an execution of plan_execute driven by inputs, with the boundaries checked after each of them.

The events survive JSON, their fold is the state byte for byte (I9), what a restart would do again is what is in flight
(E4), nothing is left in flight at the end (E9), and the named invariants of `invariants.py` hold.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import AbortModel, CallModel, Effect, OfferTask, StartChild, StopChild, WithdrawTask
from perdure.core.machines.draft import Applied, Scope
from perdure.core.machines.turn import apply, effects_of
from perdure.core.machines.turn_state import TurnState, decode_state, encode_state, evolve
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Member, Plan, TeamPlan
from perdure.core.requests import assemble
from perdure.core.transcript import Transcript
from tests.unit.core.invariants import check_journal
from tests.unit.core.plans import AMOUNT, plan, tool

FAULT = ev.ErrorInfo("E0301", "The tool raised ValueError", why="no such city")
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


class PlanPlay:
    """One execution; `flight` is what an engine that performs the effects has under way, by step."""

    def __init__(self, made: Plan) -> None:
        self.plan = made
        self.state = TurnState()
        self.transcript = Transcript()
        self.records: list[ev.Recorded] = []
        self.flight: dict[str, str] = {}
        self.events: tuple[ev.Event, ...] = ()
        self.effects: tuple[Effect, ...] = ()
        self.now = 1_000_000

    def give(self, item: inp.Input) -> Applied:
        """Apply an input and check what came of it."""
        applied = apply(Scope("x1", self.plan, self.transcript), self.state, item, self.now)
        for event in applied.events:
            self.records.append(ev.Recorded(len(self.records) + 1, self.now, event))
            self.transcript.fold(event, self.now)
        self.state, self.events, self.effects = applied.state, applied.events, applied.effects
        self._perform(applied)
        self._check()
        return applied

    def _perform(self, applied: Applied) -> None:
        for event in applied.events:
            if isinstance(event, ev.ToolStarted):
                self.flight[event.step] = "lease"
            elif isinstance(
                event,
                ev.ToolCompleted
                | ev.ToolFailed
                | ev.ToolLost
                | ev.ModelCompleted
                | ev.ModelFailed
                | ev.ModelLost
                | ev.ChildCompleted
                | ev.ChildFailed,
            ):
                self.flight.pop(event.step, None)
        for effect in applied.effects:
            match effect:
                case CallModel():
                    self.flight[effect.step] = "call"
                case OfferTask():
                    self.flight[effect.step] = "offer"
                case StartChild():
                    self.flight[effect.step] = "child"
                case AbortModel() | WithdrawTask() | StopChild():
                    self.flight.pop(effect.step, None)

    def _check(self) -> None:
        raw = encode_state(self.state)
        folded = TurnState()
        for record in self.records:
            assert ev.decode(ev.encode(record.event)) == record.event
            evolve(folded, record.event)
        assert encode_state(folded) == raw, "I9"
        assert encode_state(decode_state(raw)) == raw
        check_journal(self.records)
        if self.state.over:
            assert not self.flight, "E9: something is left running"
        elif self.state.phase == "active":
            assert self.state.steps, "I11: it has nothing to go on with"
            kinds = {CallModel: "call", OfferTask: "offer", StartChild: "child"}
            wanted = {e.step: kinds[type(e)] for e in effects_of(self.state) if type(e) in kinds}
            assert {s: k for s, k in self.flight.items() if k != "lease"} == wanted, "E4"

    def crash(self) -> None:
        """Throw the memory away and read the journal again."""
        self.state, self.transcript = TurnState(), Transcript()
        for record in self.records:
            event = ev.decode(ev.encode(record.event))
            evolve(self.state, event)
            self.transcript.fold(event, record.at_ms)

    # Inputs in short -----------------------------------------------------------------------------------

    def begin(self, text: str = "Do it") -> "PlanPlay":
        """Start the execution."""
        self.give(inp.Begin("p0", user(text), "tester"))
        return self

    def run(self, step: str, result: Any = "ok") -> Applied:
        """A worker takes a step and reports its result."""
        self.give(inp.TakeTask(step, "w1"))
        return self.give(inp.TaskSucceeded(step, self.state.steps[step].attempt, result, None, 3))

    def fail(self, step: str, *, retryable: bool = False) -> Applied:
        """A worker takes a step and fails."""
        self.give(inp.TakeTask(step, "w1"))
        return self.give(inp.TaskErrored(step, self.state.steps[step].attempt, FAULT, retryable, 0.5))

    def reply(self, step: str, text: str) -> Applied:
        """The model answers the attempt that is in flight."""
        answer = ModelReply(Message("assistant", (TextPart(text),)), Usage(10, 2), "stop")
        return self.give(inp.ModelSucceeded(step, self.state.steps[step].attempt, answer, 5))

    def child(self, step: str, output: Any = "fine") -> Applied:
        """The child of a step completes."""
        child = self.state.steps[step].child_id or ""
        return self.give(inp.ChildEnded(step, child, "completed", Usage(3, 1), output=output))

    def child_fails(self, step: str) -> Applied:
        """The child of a step fails."""
        child = self.state.steps[step].child_id or ""
        return self.give(inp.ChildEnded(step, child, "failed", Usage(3, 1), error=FAULT))

    def decide(self, step: str, decision: str = "approved", **fields: Any) -> Applied:
        """A person decides."""
        fields.setdefault("asked", self.transcript.calls[step].arguments)
        approval = self.state.steps[step].approval_id or ""
        return self.give(inp.Decide(approval, decision, "ann", "cli", **fields))  # type: ignore[arg-type]

    # Looking -------------------------------------------------------------------------------------------

    @property
    def open(self) -> list[str]:
        """The open steps."""
        return sorted(self.state.steps)

    @property
    def kinds(self) -> list[str]:
        """The kinds of all events."""
        return [ev.kind_of(r.event) for r in self.records]

    def found(self, kind: type[ev.Event]) -> list[Any]:
        """The events of one kind."""
        return [r.event for r in self.records if isinstance(r.event, kind)]

    def asked(self, step: str) -> ModelRequest:
        """The request of a model step."""
        return assemble(self.plan, self.transcript, "x1", step, 1)

    @property
    def end(self) -> Any:
        """The last event."""
        return self.records[-1].event


NO_MODEL = ModelRef("", "")
