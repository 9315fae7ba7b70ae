"""The transcript: what a model is shown, folded from the events of the journal.

Nothing of it is stored: the messages are the events. The fold keeps the prefix stable: the messages of turn n are
a prefix of those of turn n+1, and the results of one answer's calls stand in the order of the calls, whatever
the order in which they came in.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.history import Entry, conversation_text, entry_of, text_of
from perdure.core.messages import Message, TextPart, ToolResultPart, user
from perdure.core.plan_run import PlanRun, messages_result, place_of
from perdure.core.windows import Condensation, condensed

SUM_UP = "Your agents have answered. Sum up what they said in one answer to the request, and leave nothing of substance out."
SUM_UP_PLAN = "A plan was carried out for this request. Answer the request with what its steps gave, and leave nothing of substance out."
CONTINUE = "Your answer was cut off at its length limit. Go on exactly where it stopped, without repeating."


_NO_MESSAGE = Message("assistant", ())


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


_NOT_HANDED_OVER = ev.ErrorInfo(
    "E0314", "The call was not made: the answer that it came with was not accepted."
)


def _call_number(step: str) -> int:
    """Which call of its answer a step is of: hooks and guardrails may have let a later one begin first."""
    return int(step.rpartition(".c")[2])


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
        budgets: the executions in whose budgets this one counts.
        given: what the execution was asked, as it stands now, without the context that was given beside it.
        before: how many of the messages are of the conversation that this one goes on from.
        earlier: how many of the messages are of earlier executions of the session.
        inbox: messages that no model has been shown; `said_ids` are the ids of all that were ever said.
        passed_on: what was said while a child is open, by the child's step.
        condensing: the open requests for a summary, by step.
        judges: the open questions to judging models, by step.
        plan_run: how far the plan of plan_execute has come; None: there is none.
        replaced: what guardrails and callbacks put in the place of something, by subject, in this turn.
        instructions: what a function gave for them; None: the plan's. `added_instructions` stand behind them this turn.
        recalled: what its semantic memory has about the input.
        model: what a budget has put in the place of the plan's model; `last_breach` is the last limit that was met.
        last_reply: the model's last answer; `asking` is its message.
        proposed: the answer that is being judged.
        writing: the open requests for arguments of a plan's calls, by step.

    Args:
        history: the conversation that this one goes on from.
    """

    __slots__ = (
        "_after",
        "_context",
        "_results",
        "added_instructions",
        "asking",
        "before",
        "budgets",
        "calls",
        "children",
        "condensing",
        "cut",
        "earlier",
        "entries",
        "functions",
        "given",
        "inbox",
        "instructions",
        "judges",
        "last_breach",
        "last_reply",
        "last_text",
        "messages",
        "model",
        "passed_on",
        "plan_run",
        "proposed",
        "recalled",
        "replaced",
        "said_ids",
        "writing",
    )

    def __init__(self, history: Sequence[Message] = ()) -> None:
        self.messages: list[Message] = list(history)
        self.before = len(self.messages)
        self.earlier = 0
        self.budgets: tuple[str, ...] = ()
        self.calls: dict[str, PendingCall] = {}
        self.functions: dict[str, PendingCall] = {}
        self.children: dict[str, ev.ChildRequested] = {}
        self.judges: dict[str, ev.JudgeRequested] = {}
        self.condensing: dict[str, ev.CondenseRequested] = {}
        self.writing: dict[str, ev.ArgumentsRequested] = {}
        self.plan_run: PlanRun | None = None
        self.given = _NO_MESSAGE
        self.inbox: list[ev.MessageReceived] = []
        self.said_ids: set[str] = set()
        self.model: str | None = None
        self.last_breach: ev.BudgetReached | None = None
        self.passed_on: dict[str, list[ev.MessageReceived]] = {}
        self.replaced: dict[str, Any] = {}
        self.instructions: str | None = None
        self.added_instructions = self.recalled = ""
        self.last_reply: ev.ModelCompleted | None = None
        self.proposed: ev.AnswerProposed | None = None
        self.asking = _NO_MESSAGE
        self.given = _NO_MESSAGE
        self.entries: list[Entry] = []
        self.cut: list[str] = []
        self.last_text = ""
        self._results: dict[str, ToolResultPart] = {}
        self._after: Message | None = None
        self._context: dict[str, Any] | None = None

    def go_on_from(self, history: Sequence[Message]) -> None:
        """Put the conversation that this one goes on from before the first event is taken in."""
        self.messages[self.before : self.before] = history
        self.before += len(history)

    def fold(self, event: ev.Event, at_ms: int) -> None:
        """Take in the next event."""
        take = _FOLD.get(type(event))
        if take is not None:
            take(self, event, at_ms)
        if self.plan_run is not None:
            self.plan_run.fold(event)

    def _started(self, event: ev.ExecutionStarted, _at_ms: int) -> None:
        self._context = event.context
        self.budgets = event.budgets
        self.given = event.input
        self.messages.append(opening(event))
        if event.strategy:
            self.entries.append(Entry("", self.messages[-1]))
        if event.strategy == "plan_execute":
            self.plan_run = PlanRun()

    def opening_with(self, text: str) -> Message:
        """The first message, when another text stands for what was asked."""
        return in_context(with_text(self.given, text), self._context)

    def is_aside(self, step: str) -> bool:
        """Whether a model step is open whose answer is no part of the conversation."""
        return step in self.judges or step in self.condensing or step in self.writing

    def result_of(self, step: str) -> Any:
        """The result of a call of this turn."""
        found = self._results.get(step)
        if found is None and self.plan_run is not None and (place := place_of(step)) is not None:
            return self.plan_run.outputs.get(place)
        return None if found is None else found.result

    def copy(self) -> "Transcript":
        """Another one, which can be folded further without this one."""
        other = Transcript()
        for name in Transcript.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if isinstance(value, list | dict | set) else value)
        other.passed_on = {step: list(said) for step, said in self.passed_on.items()}
        return other

    def listed(self) -> list[dict[str, str]]:
        """The conversation as JSON for functions, with what the next model call will be shown besides."""
        return [{"role": m.role, "text": told_text(m)} for m in (*self.messages, *self.coming())]

    def _completed(self, event: ev.ModelCompleted, _at_ms: int) -> None:
        if self.judges.pop(event.step, None) is not None or self.writing.pop(event.step, None) is not None:
            return
        asked = self.condensing.pop(event.step, None)
        if asked is not None:
            part = Condensation(asked.first, asked.last, "", asked.tokens, asked.asked)
            self.messages = condensed(self.messages, part, event.message.text)
            self.earlier = 0 if self.earlier <= asked.first else max(asked.first, self.earlier - asked.last)
            self.before = (
                min(self.before, asked.first) if self.before < asked.last else self.before - asked.last
            )
            return
        self.last_reply, self.asking = event, event.message
        self.messages.append(event.message)
        self.last_text = event.message.text
        if event.finish_reason == "length" and not event.message.tool_calls:
            self.cut.append(self.last_text)
            self._after = user(CONTINUE)
        elif self.cut:
            self.cut = [*self.cut, self.last_text] if not event.message.tool_calls else []

    def _next_turn(self, event: ev.ModelRequested, _at_ms: int) -> None:
        if event.attempt == 1:
            self.replaced.clear()
        self.messages += self.coming()
        self.inbox, self._results, self._after = [], {}, None

    def coming(self) -> list[Message]:
        """What the next turn puts behind the conversation: results in the order of their calls, then what was said."""
        found: list[Message] = []
        if self._results:
            steps = sorted(self._results, key=_call_number)
            found.append(Message("tool", tuple(self._results[s] for s in steps)))
        if self._after is not None:
            found.append(self._after)
        return [*found, *(said.message for said in self.inbox)]

    def _add(self, step: str, call_id: str, tool: str, result: Any, *, is_error: bool) -> None:
        if self.plan_run is None or place_of(step) is None:  # what a plan called is no result for a model
            self._results[step] = ToolResultPart(call_id, tool, result, is_error)

    def _settle(self, step: str, result: Any, *, is_error: bool) -> None:
        call = self.calls.pop(step)
        self._add(step, call.call_id, call.tool, result, is_error=is_error)

    def _requested(self, event: ev.ToolRequested, _at_ms: int) -> None:
        self.calls[event.step] = PendingCall(event.call_id, event.tool, event.arguments, event.key)

    def _refused(self, event: ev.ToolRefused, _at_ms: int) -> None:
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

    def _child_completed(self, event: ev.ChildCompleted, _at_ms: int) -> None:
        asked = self.children.pop(event.step)
        self.passed_on.pop(event.step, None)
        if asked.call_id is not None:
            self._add(event.step, asked.call_id, asked.tool, event.output, is_error=False)
        elif asked.role == "member":
            self.entries.append(entry_of(asked.agent, event.output, event.handover))

    def _child_failed(self, event: ev.ChildFailed, _at_ms: int) -> None:
        asked = self.children.pop(event.step)
        self.passed_on.pop(event.step, None)
        if asked.call_id is not None:
            self._add(event.step, asked.call_id, asked.tool, error_result(event.error), is_error=True)

    def _agent_chosen(self, event: ev.AgentChosen, _at_ms: int) -> None:
        if event.by == "synthesis":
            text = f"{SUM_UP}\n\n{conversation_text(self.entries[1:])}"
            if self.plan_run is not None:
                text = f"{SUM_UP_PLAN}\n\n{self.plan_run.told()}"
            self.messages.append(user(text))

    def _output_rejected(self, event: ev.OutputRejected, _at_ms: int) -> None:
        self.cut = []
        self._after = user(rejection_text(event.errors))

    def _answer_refused(self, event: ev.AnswerRefused, _at_ms: int) -> None:
        if event.feedback:  # a refused call is told in its own result
            self.cut = []
            self._after = user(event.feedback)
            # An answer that hands over is a call: a provider wants a result for it.
            for number, call in enumerate(self.messages[-1].tool_calls if self.messages else ()):
                step = f"{event.step.partition('.')[0]}.c{number}"
                self._add(step, call.call_id, call.tool, error_result(_NOT_HANDED_OVER), is_error=True)

    def _judge_requested(self, event: ev.JudgeRequested, _at_ms: int) -> None:
        self.judges[event.step] = event

    def _arguments_requested(self, event: ev.ArgumentsRequested, _at_ms: int) -> None:
        self.writing[event.step] = event

    def _plan_failed(self, _event: ev.PlanFailed, _at_ms: int) -> None:
        for open_ in (self.calls, self.functions, self.children, self.passed_on, self.judges, self.writing):
            open_.clear()  # they were stopped

    def _condense_requested(self, event: ev.CondenseRequested, _at_ms: int) -> None:
        self.condensing[event.step] = event

    def _proposed(self, event: ev.AnswerProposed, _at_ms: int) -> None:
        self.proposed = event

    def _hook_ended(self, event: ev.HookEnded, _at_ms: int) -> None:
        if event.hook == "@before_model":
            self.added_instructions = ""

    def _replaced(self, event: ev.Replaced, _at_ms: int) -> None:
        if event.subject == "instructions":
            self.instructions = event.value
            return
        if event.subject == "recalled":
            self.recalled = str(event.value)
            return
        if event.subject == "added_instructions":
            self.added_instructions = str(event.value)
            return
        self.replaced[event.subject] = event.value
        step, _, kind = event.subject.rpartition(".")
        if event.subject == "in":
            self.given = with_text(self.given, event.value)
            self.messages[self.before] = in_context(self.given, self._context)
            if self.entries:
                self.entries[0] = Entry("", self.messages[self.before])
        elif kind == "r" and step in self._results:
            self._results[step] = msgspec.structs.replace(self._results[step], result=event.value)
        elif kind in ("a", "out") and isinstance(event.value, str) and self.messages[-1].role == "assistant":
            self.messages[-1] = with_text(self.messages[-1], event.value)
            self.last_text = event.value

    def _said(self, event: ev.MessageReceived, _at_ms: int) -> None:
        self.said_ids.add(event.id)
        self.inbox.append(event)
        if self.entries:
            self.entries.append(Entry("", event.message))
        for step in self.children:
            self.passed_on.setdefault(step, []).append(event)

    def _prefilled(self, event: ev.CallsPrefilled, _at_ms: int) -> None:
        self.asking = event.message
        self.messages.append(event.message)

    def _interrupted(self, _event: ev.ModelInterrupted, _at_ms: int) -> None:
        self.cut = []

    def _taken(self, event: ev.MessagesTaken, _at_ms: int) -> None:
        taken, self.inbox = self.inbox[: event.count], self.inbox[event.count :]
        self._add(event.step, event.call_id, event.tool, messages_result(taken), is_error=False)

    def _budget_reached(self, event: ev.BudgetReached, _at_ms: int) -> None:
        self.last_breach = event
        self.judges.pop(event.step, None)
        self.writing.pop(event.step, None)
        if event.model:
            self.model = event.model
        if event.step in self.calls:
            told = {"error": "The call was not made: the budget does not allow it.", "code": "E0424"}
            self._settle(event.step, {**told, "why": event.why}, is_error=True)

    def _ended(self, event: ev.ExecutionCompleted, _at_ms: int) -> None:
        # The conversation may go on in another execution: there the answer must be seen as it was given.
        while self.messages and self.messages[-1].tool_calls:
            self.messages.pop()  # calls that nobody will answer
        said = self.messages[-1] if self.messages else None
        if said is None or said.role != "assistant":
            self.messages.append(Message("assistant", (TextPart(text_of(event.output)),)))

    def _asked(self, event: ev.ApprovalRequested, at_ms: int) -> None:
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
        if call.asks in ("pick", "guardrail", "budget"):
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
    ev.JudgeRequested: Transcript._judge_requested,  # noqa: SLF001
    ev.CondenseRequested: Transcript._condense_requested,  # noqa: SLF001
    ev.ArgumentsRequested: Transcript._arguments_requested,  # noqa: SLF001
    ev.PlanFailed: Transcript._plan_failed,  # noqa: SLF001
    ev.AnswerProposed: Transcript._proposed,  # noqa: SLF001
    ev.HookEnded: Transcript._hook_ended,  # noqa: SLF001
    ev.Replaced: Transcript._replaced,  # noqa: SLF001
    ev.BudgetReached: Transcript._budget_reached,  # noqa: SLF001
    ev.MessageReceived: Transcript._said,  # noqa: SLF001
    ev.CallsPrefilled: Transcript._prefilled,  # noqa: SLF001
    ev.ModelInterrupted: Transcript._interrupted,  # noqa: SLF001
    ev.MessagesTaken: Transcript._taken,  # noqa: SLF001
    ev.ExecutionCompleted: Transcript._ended,  # noqa: SLF001
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
    return in_context(event.input, event.context)


def in_context(given: Message, context: dict[str, Any] | None) -> Message:
    """A message with a context before it."""
    if not context:
        return given
    text = msgspec.json.format(msgspec.json.encode(context), indent=2).decode()
    return Message(given.role, (TextPart(f"Context:\n{text}\n\n"), *given.parts))


def with_text(message: Message, text: str) -> Message:
    """A message with another text; what is no text of it stays."""
    others = tuple(part for part in message.parts if not isinstance(part, TextPart))
    return Message(message.role, (TextPart(text), *others))


def told_text(message: Message) -> str:
    """A message as functions are told it: its text, and the results that it has."""
    results = (p for p in message.parts if isinstance(p, ToolResultPart))
    return "\n".join(filter(None, (message.text, *(f"{p.tool}: {text_of(p.result)}" for p in results))))


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
    if call.unknown_epoch:  # 0: no attempt was made
        return unknown_result(event.reason or "A person decided not to run it again.")
    told = {"rejected": True, "error": "A person rejected this call; it was not run."}
    return {**told, "reason": event.reason} if event.reason else told


def rejection_text(errors: tuple[str, ...]) -> str:
    """What a model is told of an answer that does not fit the output type."""
    listed = "\n".join(f"- {e}" for e in errors)
    return f"Your answer does not fit the required JSON schema:\n{listed}\nAnswer again with the corrected JSON only."
