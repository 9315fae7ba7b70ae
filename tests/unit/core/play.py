"""`Play`: an execution driven by inputs, as the engine drives it, with every boundary checked.

After each input: the events survive JSON; folding them gives the state byte for byte (I9); the messages that a
model is shown only grow at their end; an execution that is not over has something to go on with; and the named
invariants of `invariants.py` hold over the whole journal.
"""

from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.effects import (
    AbortModel,
    AwaitSession,
    CallModel,
    Effect,
    OfferTask,
    SayToChild,
    StartChild,
    StopChild,
    TellChild,
    WithdrawTask,
)
from perdure.core.machines.draft import Applied, Scope
from perdure.core.machines.turn import apply, effects_of, next_due_ms
from perdure.core.machines.turn_state import TurnState, decode_state, encode_state, evolve
from perdure.core.messages import Message, TextPart, ToolCallPart, user
from perdure.core.model import FinishReason, ModelReply, Usage
from perdure.core.plan import Plan
from perdure.core.transcript import Transcript
from tests.unit.core.invariants import calls_are_answered, check_journal
from tests.unit.core.plans import plan as make_plan

FAULT = ev.ErrorInfo("E0301", "The tool raised ValueError", why="no such city", fix="Use another city.")
OUTAGE = ev.ErrorInfo("E0207", "The provider could not be reached")
T0 = 1_000_000


def call(tool: str, *, call_id: str = "", **arguments: Any) -> ToolCallPart:
    """A tool call of a model's answer."""
    return ToolCallPart(call_id or f"call-{tool}", tool, arguments)


_NAMES: dict[type[Any], str] = {
    CallModel: "call",
    OfferTask: "offer",
    StartChild: "child",
    AwaitSession: "session",
}


class Play:
    """One execution. `now` is wall time in milliseconds; `records` its journal; `effects` those of the last input.

    `commits` holds, for each input that recorded something, how many records there were after it. `running` is what
    an engine that performs the effects has in flight: calls of models, offers, leases and children, by step.
    """

    def __init__(self, plan: Plan | None = None, execution_id: str = "x1", *, checked: bool = True) -> None:
        self.checked = checked  # the checks read the whole journal: a long play does them at its end alone
        self.execution_id = execution_id
        self.plan = plan or make_plan()
        self.state = TurnState()
        self.transcript = Transcript()
        self.records: list[ev.Recorded] = []
        self.commits: list[int] = []
        self.events: tuple[ev.Event, ...] = ()
        self.effects: tuple[Effect, ...] = ()
        self.running: set[tuple[str, str]] = set()
        self.shown: list[Message] = []
        self.now = T0

    # Driving -------------------------------------------------------------------------------------------

    def give(self, item: inp.Input) -> Applied:
        """Apply one input, record what comes of it, and check the boundary."""
        before = encode_state(self.state)
        scope = Scope(self.execution_id, self.plan, self.transcript)
        try:
            applied = apply(scope, self.state, item, self.now)
        finally:
            assert encode_state(self.state) == before, "apply changed its argument"
        for event in applied.events:
            self.records.append(ev.Recorded(len(self.records) + 1, self.now, event))
            self.transcript.fold(event, self.now)
            if isinstance(event, ev.ModelCompleted) and event.step.endswith(".z"):
                self.shown = []  # a summary has taken the place of the beginning
            if isinstance(event, ev.ModelRequested):
                self._show()
        if applied.events:
            self.commits.append(len(self.records))
        self.state, self.events, self.effects = applied.state, applied.events, applied.effects
        self._perform(item, applied)
        if self.checked:
            self.check()
        return applied

    def _perform(self, item: inp.Input, applied: Applied) -> None:
        """What an engine has in flight after this input: first what the events say, then the effects (E1)."""
        if isinstance(item, inp.ModelSucceeded | inp.ModelErrored) and applied.events:
            self.running.discard(("call", item.step))
        for event in applied.events:
            match event:
                case ev.ModelLost(step=step):
                    self.running.discard(("call", step))
                case ev.ToolStarted(step=step):
                    self.running.discard(("offer", step))
                    self.running.add(("lease", step))
                case ev.ToolCompleted(step=step) | ev.ToolFailed(step=step) | ev.ToolLost(step=step):
                    self.running.discard(("lease", step))
                case ev.BudgetReached(step=step):
                    self.running -= {("call", step), ("offer", step)}
                case ev.SessionJoined(step=step):
                    self.running.discard(("session", step))
                case ev.ChildCompleted(step=step) | ev.ChildFailed(step=step):
                    self.running.discard(("child", step))
        for effect in applied.effects:
            if isinstance(effect, CallModel):
                self.running.add(("call", effect.step))
            elif isinstance(effect, OfferTask):
                assert ("offer", effect.step) not in self.running, "offered twice"
                self.running.add(("offer", effect.step))
            elif isinstance(effect, AbortModel):
                self.running.discard(("call", effect.step))
            elif isinstance(effect, StartChild):
                self.running.add(("child", effect.step))
            elif isinstance(effect, StopChild):
                self.running.discard(("child", effect.step))
            elif isinstance(effect, AwaitSession):
                self.running.add(("session", effect.step))
            elif isinstance(effect, WithdrawTask):
                self.running -= {("offer", effect.step), ("lease", effect.step)}

    def _show(self) -> None:
        messages = self.transcript.messages
        assert messages[: len(self.shown)] == self.shown, "the prefix of the messages changed"
        self.shown = list(messages)
        calls_are_answered(self.shown)

    def check(self) -> None:
        """The invariants that hold between any two inputs."""
        raw = encode_state(self.state)
        assert encode_state(decode_state(raw)) == raw
        assert encode_state(folded(self.records)) == raw, "I9: the journal does not give the state"
        check_journal(self.records)
        if self.state.over:
            assert not self.running, "E9: something is left running"
            assert not self.state.steps
            assert effects_of(self.state) == ()
            assert next_due_ms(self.state) is None
        elif self.state.phase == "active":
            assert can_go_on(self.state), "I11: an active execution has nothing to go on with"
            wanted = {
                (_NAMES[type(e)], e.step)
                for e in effects_of(self.state)
                if not isinstance(
                    e, SayToChild | TellChild
                )  # what was said and heard is said again, and changes nothing
            }
            assert {r for r in self.running if r[0] != "lease"} == wanted, "E4: what runs is not what should"

    def crash(self) -> tuple[Effect, ...]:
        """Throw the memory away, read the journal again; gives the effects that a restart would perform."""
        stored = [ev.Recorded(r.seq, r.at_ms, ev.decode(ev.encode(r.event))) for r in self.records]
        shown, calls = self.transcript.messages, self.transcript.calls
        self.state = decode_state(encode_state(self.state))
        self.transcript = conversation(stored)
        assert msgspec.json.encode(self.transcript.messages) == msgspec.json.encode(shown)
        assert msgspec.json.encode(self.transcript.calls) == msgspec.json.encode(calls)
        self.records = stored
        return effects_of(self.state)

    # Inputs in short -----------------------------------------------------------------------------------

    def begin(self, text: str = "Hello", **fields: Any) -> "Play":
        """Start the execution."""
        self.give(inp.Begin("p0", user(text), "tester", **fields))
        return self

    @property
    def model_step(self) -> str:
        """The step of the turn's model call."""
        return f"t{self.state.turn}.m"

    def reply(
        self, text: str = "", *calls: ToolCallPart, finish: FinishReason | None = None, **fields: Any
    ) -> Applied:
        """The model answers the attempt that is in flight."""
        parts = ((TextPart(text),) if text else ()) + calls
        reason: FinishReason = finish or ("tool_calls" if calls else "stop")
        answer = ModelReply(Message("assistant", parts), Usage(10, 2), reason, "mock-1", "r1")
        attempt = fields.pop("attempt", None) or self.state.steps[self.model_step].attempt
        return self.give(inp.ModelSucceeded(fields.pop("step", self.model_step), attempt, answer, 5))

    def model_fails(self, *, retryable: bool = True, retry_after_ms: int | None = None) -> Applied:
        """The attempt in flight fails."""
        attempt = self.state.steps[self.model_step].attempt
        item = inp.ModelErrored(self.model_step, attempt, OUTAGE, retryable, 0.5, retry_after_ms)
        return self.give(item)

    def take(self, step: str, worker: str = "w1") -> int:
        """A worker takes a step; gives the epoch that it holds."""
        self.give(inp.TakeTask(step, worker))
        return self.state.steps[step].attempt

    def done(self, step: str, result: Any = "ok", state: dict[str, Any] | None = None) -> Applied:
        """The worker that holds the step reports a result."""
        return self.give(inp.TaskSucceeded(step, self.state.steps[step].attempt, result, state, 3))

    def run(self, step: str, result: Any = "ok", state: dict[str, Any] | None = None) -> Applied:
        """A worker takes a step and reports its result."""
        self.take(step)
        return self.done(step, result, state)

    def fails(self, step: str, *, retryable: bool = True) -> Applied:
        """The worker that holds the step reports that the attempt failed."""
        return self.give(inp.TaskErrored(step, self.state.steps[step].attempt, FAULT, retryable, 0.5))

    def silent(self, step: str) -> Applied:
        """The lease of the step runs out."""
        return self.give(inp.TaskSilent(step, self.state.steps[step].attempt, "worker w1 was silent"))

    def decide(self, step: str, decision: str = "approved", **fields: Any) -> Applied:
        """A person decides about a call."""
        fields.setdefault("asked", self.transcript.calls[step].arguments)
        approval = self.state.steps[step].approval_id
        return self.give(inp.Decide(approval, decision, "ann", "cli", **fields))

    def child_done(self, step: str, output: Any = "said", **fields: Any) -> Applied:
        """The child execution of a step ends with an answer."""
        child = self.state.steps[step].child_id
        return self.give(inp.ChildEnded(step, child, "completed", Usage(20, 4), output=output, **fields))

    def child_fails(self, step: str, status: str = "failed") -> Applied:
        """The child execution of a step ends without an answer."""
        item = inp.ChildEnded(step, self.state.steps[step].child_id, status, Usage(5, 1), error=FAULT)
        return self.give(item)

    def judge(self, step: str, text: str, **reply: Any) -> Applied:
        """A judging model answers."""
        answer = ModelReply(Message("assistant", (TextPart(text),)), Usage(3, 1), "stop", **reply)
        return self.give(inp.ModelSucceeded(step, self.state.steps[step].attempt, answer))

    def judge_fails(self, step: str, *, retryable: bool = True) -> Applied:
        """A judging model cannot be asked."""
        attempt = self.state.steps[step].attempt
        return self.give(inp.ModelErrored(step, attempt, OUTAGE, retryable, 0.5))

    def say(self, text: str, *, mode: ev.MessageMode = "enqueue", message_id: str = "") -> Applied:
        """Somebody says something."""
        said = message_id or f"m{len(self.transcript.said_ids)}"
        return self.give(inp.Say(said, user(text), "ann", mode))

    def stop_soon(self) -> Applied:
        """Somebody asks for the end after this turn."""
        return self.give(inp.StopSoon("ann", "enough"))

    def join(self, execution_id: str) -> Applied:
        """The execution before this one has ended."""
        return self.give(inp.JoinSession(execution_id))

    def tick(self, after_ms: int = 0) -> Applied:
        """Time passes and the engine says so."""
        self.now += after_ms
        return self.give(inp.Tick())

    def pause(self) -> Applied:
        """A person pauses."""
        return self.give(inp.Pause("ann", "lunch"))

    def resume(self) -> Applied:
        """A person resumes."""
        return self.give(inp.Resume("ann"))

    def quarantine(self) -> Applied:
        """The engine sets the execution aside."""
        return self.give(inp.Quarantine(ev.ErrorInfo("E0411", "set aside")))

    def recover(self) -> Applied:
        """The server is back after a stop in mid-step."""
        return self.give(inp.Recover("the server was restarted"))

    # Reading -------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> list[str]:
        """The kinds of the last input's events."""
        return [ev.kind_of(e) for e in self.events]

    @property
    def last(self) -> Any:
        """The last event of the journal."""
        return self.records[-1].event

    def of(self, kind: type[ev.Event]) -> list[Any]:
        """All events of one kind."""
        return [r.event for r in self.records if isinstance(r.event, kind)]

    def results(self) -> list[Any]:
        """The parts of the last message that the model was shown."""
        return list(self.shown[-1].parts)


def folded(records: list[ev.Recorded]) -> TurnState:
    """The state that the journal gives when it is read back from its JSON."""
    state = TurnState()
    for record in records:
        evolve(state, ev.decode(ev.encode(record.event)))
    return state


def conversation(records: list[ev.Recorded]) -> Transcript:
    """The transcript that the journal gives."""
    transcript = Transcript()
    for record in records:
        transcript.fold(record.event, record.at_ms)
    return transcript


def can_go_on(state: TurnState) -> bool:
    """Whether something will move an active execution: an effect, an attempt in flight, a time, or a person."""
    return (
        bool(effects_of(state))
        or next_due_ms(state) is not None
        or any(
            s.status in ("asking", "leased", "approval", "child", "message", "session")
            for s in state.steps.values()
        )
    )


def offers(effects: tuple[Effect, ...]) -> list[str]:
    """The steps that are offered by *effects*."""
    return [e.step for e in effects if isinstance(e, OfferTask)]


def children(effects: tuple[Effect, ...]) -> list[str]:
    """The steps whose child executions *effects* begin."""
    return [e.step for e in effects if isinstance(e, StartChild)]


def model_calls(effects: tuple[Effect, ...]) -> list[tuple[str, int]]:
    """The attempts at model steps that *effects* make."""
    return [(e.step, e.attempt) for e in effects if isinstance(e, CallModel)]
