"""The transcript: what a model is shown, folded from the events of the journal.

Nothing of it is stored: the messages are the events. The fold keeps the prefix stable: the messages of turn n are
a prefix of those of turn n+1, and the results of one answer's calls stand in the order of the calls, whatever
the order in which they came in.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.arguments import arguments_request
from perdure.core.definition import OutputDefinition
from perdure.core.guards import JUDGE_SCHEMA, judge_text
from perdure.core.history import Entry, conversation_text, entry_of
from perdure.core.messages import Message, Part, TextPart, ToolResultPart, user
from perdure.core.model import ModelRequest, ModelSettings
from perdure.core.model_name import parse_model
from perdure.core.plan import Plan
from perdure.core.plan_run import PlanRun, place_of

SUM_UP = "Your agents have answered. Sum up what they said in one answer to the request, and leave nothing of substance out."
SUM_UP_PLAN = "A plan was carried out for this request. Answer the request with what its steps gave, and leave nothing of substance out."
CONTINUE = "Your answer was cut off at its length limit. Go on exactly where it stopped, without repeating."


_NO_MESSAGE = Message("assistant", ())
Aside = ev.JudgeRequested | ev.ArgumentsRequested


class PendingCall(msgspec.Struct, frozen=True):
    """A call of the current turn that is accepted, or waits for a person."""

    call_id: str
    tool: str
    arguments: dict[str, Any]
    key: str = ""
    approval_id: str | None = None
    unknown_epoch: int | None = None
    asked_at_ms: int = 0
    asks: ev.ApprovalKind = "call"
    answer_schema: dict[str, Any] | None = None


class Transcript:
    """The conversation of one execution.

    Attributes:
        messages: what the model has been shown and has said, in order; append-only.
        calls: the open calls of the current turn, by step.
        cut: the texts of the last answers as long as each was cut off at its length limit.
        last_text: the text of the last answer.
        functions: the open calls of functions on workers, by step.
        children: the requests of the open child executions, by step.
        entries: what a team was asked, and what its agents said, in order.
        before: how many of the messages are of the conversation that this one goes on from.
        asides: the open questions to models that are no part of the conversation, by step.
        plan_run: how far the plan of plan_execute has come; None: there is none.
        replaced: what guardrails and callbacks put in the place of something, by subject, in this turn.
        instructions: what a function gave for them; None: the plan's. `added_instructions` stand behind them this turn.
        last_reply: the model's last answer; `asking` is its message.
        proposed: the answer that is being judged.

    Args:
        history: the conversation that this one goes on from.
    """

    __slots__ = (
        "_after",
        "_index",
        "_results",
        "added_instructions",
        "asides",
        "asking",
        "before",
        "calls",
        "children",
        "cut",
        "entries",
        "functions",
        "instructions",
        "last_reply",
        "last_text",
        "messages",
        "plan_run",
        "proposed",
        "replaced",
    )

    def __init__(self, history: Sequence[Message] = ()) -> None:
        self.messages: list[Message] = list(history)
        self.before = len(self.messages)
        self.calls: dict[str, PendingCall] = {}
        self.functions: dict[str, PendingCall] = {}
        self.children: dict[str, ev.ChildRequested] = {}
        self.asides: dict[str, Aside] = {}
        self.plan_run: PlanRun | None = None
        self.replaced: dict[str, Any] = {}
        self.instructions: str | None = None
        self.added_instructions = ""
        self.last_reply: ev.ModelCompleted | None = None
        self.proposed: ev.AnswerProposed | None = None
        self.asking = _NO_MESSAGE
        self.entries: list[Entry] = []
        self.cut: list[str] = []
        self.last_text = ""
        self._results: dict[str, ToolResultPart] = {}
        self._index: dict[str, int] = {}
        self._after: Message | None = None

    def go_on_from(self, history: Sequence[Message]) -> None:
        """Put the conversation that this one goes on from before the first event is taken in."""
        self.messages[:0] = history
        self.before = len(history)

    def fold(self, event: ev.Event, at_ms: int) -> None:
        """Take in the next event."""
        take = _FOLD.get(type(event))
        if take is not None:
            take(self, event, at_ms)
        if self.plan_run is not None:
            self.plan_run.fold(event)

    def _started(self, event: ev.ExecutionStarted, _at_ms: int) -> None:
        self.messages.append(opening(event))
        if event.strategy:
            self.entries.append(Entry("", self.messages[-1]))
        if event.strategy == "plan_execute":
            self.plan_run = PlanRun()

    @property
    def given(self) -> Message:
        """What the execution was given, as it stands now."""
        return self.messages[self.before]

    def result_of(self, step: str) -> Any:
        """The result of a call of this turn."""
        found = self._results.get(step)
        if found is None and self.plan_run is not None and (place := place_of(step)) is not None:
            return self.plan_run.outputs.get(place)
        return None if found is None else found.result

    def listed(self) -> list[dict[str, str]]:
        """The conversation as JSON for functions."""
        return [{"role": m.role, "text": m.text} for m in self.messages]

    def _completed(self, event: ev.ModelCompleted, _at_ms: int) -> None:
        if self.asides.pop(event.step, None) is not None:
            return
        self.last_reply, self.asking = event, event.message
        self.messages.append(event.message)
        self.last_text = event.message.text
        self._index = {}
        if event.finish_reason == "length" and not event.message.tool_calls:
            self.cut.append(self.last_text)
            self._after = user(CONTINUE)
        elif self.cut:
            self.cut = [*self.cut, self.last_text] if not event.message.tool_calls else []

    def _next_turn(self, event: ev.ModelRequested, _at_ms: int) -> None:
        if event.attempt == 1:
            self.replaced.clear()
        if self._results:
            steps = sorted(self._results, key=self._index.__getitem__)
            self.messages.append(Message("tool", tuple(self._results[s] for s in steps)))
            self._results = {}
        if self._after is not None:
            self.messages.append(self._after)
            self._after = None

    def _add(self, step: str, call_id: str, tool: str, result: Any, *, is_error: bool) -> None:
        if self.plan_run is None or place_of(step) is None:  # what a plan called is no result for a model
            self._results[step] = ToolResultPart(call_id, tool, result, is_error)

    def _settle(self, step: str, result: Any, *, is_error: bool) -> None:
        call = self.calls.pop(step)
        self._add(step, call.call_id, call.tool, result, is_error=is_error)

    def _requested(self, event: ev.ToolRequested, _at_ms: int) -> None:
        self._index.setdefault(event.step, len(self._index))
        self.calls[event.step] = PendingCall(event.call_id, event.tool, event.arguments, event.key)

    def _refused(self, event: ev.ToolRefused, _at_ms: int) -> None:
        self._index.setdefault(event.step, len(self._index))
        self._add(event.step, event.call_id, event.tool, error_result(event.error), is_error=True)

    def _tool_completed(self, event: ev.ToolCompleted, _at_ms: int) -> None:
        if self.functions.pop(event.step, None) is None:
            self._settle(event.step, event.result, is_error=False)

    def _tool_failed(self, event: ev.ToolFailed, _at_ms: int) -> None:
        if event.retry_at_ms is None and self.functions.pop(event.step, None) is None:
            self._settle(event.step, error_result(event.error), is_error=True)

    def _tool_lost(self, event: ev.ToolLost, _at_ms: int) -> None:
        if event.policy == "fail" and self.functions.pop(event.step, None) is None:
            self._settle(event.step, unknown_result(event.reason), is_error=True)

    def _function_requested(self, event: ev.FunctionRequested, _at_ms: int) -> None:
        self.functions[event.step] = PendingCall("", event.function, event.arguments, event.key)

    def _child_requested(self, event: ev.ChildRequested, _at_ms: int) -> None:
        self.children[event.step] = event
        self.calls.pop(event.step, None)  # it was asked about, and approved
        if event.call_id is not None:
            self._index.setdefault(event.step, len(self._index))

    def _child_completed(self, event: ev.ChildCompleted, _at_ms: int) -> None:
        asked = self.children.pop(event.step)
        if asked.call_id is not None:
            self._add(event.step, asked.call_id, asked.tool, event.output, is_error=False)
        elif asked.role == "member":
            self.entries.append(entry_of(asked.agent, event.output, event.handover))

    def _child_failed(self, event: ev.ChildFailed, _at_ms: int) -> None:
        asked = self.children.pop(event.step)
        if asked.call_id is not None:
            self._add(event.step, asked.call_id, asked.tool, error_result(event.error), is_error=True)

    def _agent_chosen(self, event: ev.AgentChosen, _at_ms: int) -> None:
        if event.by == "synthesis":
            text = f"{SUM_UP}\n\n{conversation_text(self.entries[1:])}"
            if self.plan_run is not None:
                text = f"{SUM_UP_PLAN}\n\n{self.plan_run.told(())}"
            self.messages.append(user(text))

    def _output_rejected(self, event: ev.OutputRejected, _at_ms: int) -> None:
        self.cut = []
        self._after = user(rejection_text(event.errors))

    def _answer_refused(self, event: ev.AnswerRefused, _at_ms: int) -> None:
        if event.feedback:  # a refused call is told in its own result
            self.cut = []
            self._after = user(event.feedback)

    def _aside(self, event: "Aside", _at_ms: int) -> None:
        self.asides[event.step] = event

    def _plan_failed(self, _event: ev.PlanFailed, _at_ms: int) -> None:
        for open_ in (self.calls, self.functions, self.children, self.asides):
            open_.clear()  # they were stopped

    def _proposed(self, event: ev.AnswerProposed, _at_ms: int) -> None:
        self.proposed = event

    def _hook_ended(self, event: ev.HookEnded, _at_ms: int) -> None:
        if event.hook == "@before_model":
            self.added_instructions = ""

    def _replaced(self, event: ev.Replaced, _at_ms: int) -> None:
        if event.subject == "instructions":
            self.instructions = event.value
            return
        if event.subject == "added_instructions":
            self.added_instructions = str(event.value)
            return
        self.replaced[event.subject] = event.value
        step, _, kind = event.subject.rpartition(".")
        if event.subject == "in":
            self._replace_text(self.before, event.value)
            if self.entries:
                self.entries[0] = Entry("", self.messages[self.before])
        elif kind == "r" and step in self._results:
            self._results[step] = msgspec.structs.replace(self._results[step], result=event.value)
        elif kind in ("a", "out") and isinstance(event.value, str) and self.messages[-1].role == "assistant":
            self._replace_text(-1, event.value)
            self.last_text = event.value

    def _replace_text(self, place: int, text: str) -> None:
        message = self.messages[place]
        others = tuple(part for part in message.parts if not isinstance(part, TextPart))
        self.messages[place] = Message(message.role, (TextPart(text), *others))

    def _asked(self, event: ev.ApprovalRequested, at_ms: int) -> None:
        if event.asks in ("call", "question"):
            self._index.setdefault(event.step, len(self._index))
        earlier = self.calls.get(event.step)
        self.calls[event.step] = PendingCall(
            event.call_id,
            event.tool,
            event.arguments,
            key=earlier.key if earlier else "",
            approval_id=event.approval_id,
            unknown_epoch=event.unknown_epoch,
            asked_at_ms=at_ms,
            asks=event.asks,
            answer_schema=event.answer_schema,
        )

    def _decided(self, event: ev.ApprovalDecided, _at_ms: int) -> None:
        call = self.calls[event.step]
        if call.asks in ("pick", "guardrail"):
            del self.calls[event.step]
        elif call.asks == "question" and event.decision == "approved":
            self._settle(event.step, event.answer, is_error=False)
        elif event.decision == "rejected":
            self._settle(event.step, rejected_result(event, call), is_error=True)
        else:
            self.calls[event.step] = msgspec.structs.replace(call, approval_id=None, unknown_epoch=None)


_FOLD: dict[type[ev.Event], Callable[[Transcript, Any, int], None]] = {
    ev.ExecutionStarted: Transcript._started,  # noqa: SLF001 - the table of the class above
    ev.ModelRequested: Transcript._next_turn,  # noqa: SLF001
    ev.ModelCompleted: Transcript._completed,  # noqa: SLF001
    ev.OutputRejected: Transcript._output_rejected,  # noqa: SLF001
    ev.AnswerRefused: Transcript._answer_refused,  # noqa: SLF001
    ev.JudgeRequested: Transcript._aside,  # noqa: SLF001
    ev.ArgumentsRequested: Transcript._aside,  # noqa: SLF001
    ev.PlanFailed: Transcript._plan_failed,  # noqa: SLF001
    ev.AnswerProposed: Transcript._proposed,  # noqa: SLF001
    ev.HookEnded: Transcript._hook_ended,  # noqa: SLF001
    ev.Replaced: Transcript._replaced,  # noqa: SLF001
    ev.ToolRequested: Transcript._requested,  # noqa: SLF001
    ev.ToolRefused: Transcript._refused,  # noqa: SLF001
    ev.ToolCompleted: Transcript._tool_completed,  # noqa: SLF001
    ev.ToolFailed: Transcript._tool_failed,  # noqa: SLF001
    ev.ToolLost: Transcript._tool_lost,  # noqa: SLF001
    ev.ApprovalRequested: Transcript._asked,  # noqa: SLF001
    ev.ApprovalDecided: Transcript._decided,  # noqa: SLF001
    ev.FunctionRequested: Transcript._function_requested,  # noqa: SLF001
    ev.ChildRequested: Transcript._child_requested,  # noqa: SLF001
    ev.ChildCompleted: Transcript._child_completed,  # noqa: SLF001
    ev.ChildFailed: Transcript._child_failed,  # noqa: SLF001
    ev.AgentChosen: Transcript._agent_chosen,  # noqa: SLF001
}


def opening(event: ev.ExecutionStarted) -> Message:
    """The first message: the user's input, with the context that was given beside it."""
    if not event.context:
        return event.input
    text = msgspec.json.format(msgspec.json.encode(event.context), indent=2).decode()
    parts: tuple[Part, ...] = (TextPart(f"Context:\n{text}\n\n"), *event.input.parts)
    return Message(event.input.role, parts)


def error_result(error: ev.ErrorInfo) -> dict[str, Any]:
    """What a model is told of a call that failed."""
    told = {"error": error.what, "code": error.code}
    return {**told, **{k: v for k in ("why", "fix") if (v := getattr(error, k))}}


def unknown_result(reason: str) -> dict[str, Any]:
    """What a model is told of a call that may or may not have taken effect."""
    return {
        "error": "It is not known whether this call took effect. Do not assume either.",
        "code": "E0308",
        "why": reason,
    }


def rejected_result(event: ev.ApprovalDecided, call: PendingCall) -> dict[str, Any]:
    """What a model is told of a call that a person rejected."""
    if call.unknown_epoch is not None:
        return unknown_result(event.reason or "A person decided not to run it again.")
    told = {"rejected": True, "error": "A person rejected this call; it was not run."}
    return {**told, "reason": event.reason} if event.reason else told


def rejection_text(errors: tuple[str, ...]) -> str:
    """What a model is told of an answer that does not fit the output type."""
    listed = "\n".join(f"- {e}" for e in errors)
    return f"Your answer does not fit the required JSON schema:\n{listed}\nAnswer again with the corrected JSON only."


def assemble(plan: Plan, transcript: Transcript, execution_id: str, step: str, attempt: int) -> ModelRequest:
    """The request of a model step: the plan's part and the conversation as it is."""
    aside = transcript.asides.get(step)
    if isinstance(aside, ev.JudgeRequested):
        return _judge_request(plan, aside, execution_id, attempt)
    if aside is not None:
        return arguments_request(plan, transcript.given.text, aside, execution_id, attempt)
    output: OutputDefinition | None = plan.output
    instructions = plan.instructions if transcript.instructions is None else transcript.instructions
    return ModelRequest(
        execution_id=execution_id,
        step=step,
        attempt=attempt,
        model=plan.model,
        instructions="\n\n".join(filter(None, (instructions, transcript.added_instructions))),
        messages=transcript.messages,
        tools=plan.tool_specs,
        settings=plan.settings,
        output_schema=output.schema if output else None,
        output_name=output.name if output else None,
    )


def _judge_request(plan: Plan, judge: ev.JudgeRequested, execution_id: str, attempt: int) -> ModelRequest:
    """What a judging model is asked: the policy and the text, and nothing of the conversation."""
    guard = next(g for g in plan.all_guards if g.name == judge.guard)
    return ModelRequest(
        execution_id=execution_id,
        step=judge.step,
        attempt=attempt,
        model=parse_model(guard.model, guard.base_url),
        instructions="",
        messages=[user(judge_text(guard.policy, judge.content))],
        tools=(),
        settings=ModelSettings(max_tokens=guard.max_tokens, extra=plan.settings.extra),
        output_schema=JUDGE_SCHEMA,
        output_name="Verdict",
    )
