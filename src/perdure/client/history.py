"""From the journal of an execution that has ended to its `AgentResult`. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.output import parse_output
from perdure.agents.results import AgentEvent, AgentResult, EventType, FinishReason, Status
from perdure.client.mapping import EventMapper, event_of, usage_of
from perdure.core.errors import ExecutionError, from_wire
from perdure.core.events import AnyEvent, ChildCompleted, ExecutionCompleted
from perdure.core.history import entry_of
from perdure.core.transcript import Transcript
from perdure.wire.types import EventRecord, ExecutionAnswer

# A router's or a planner's word says who goes on, and is no part of what was said.
_VOICES = frozenset({"member", "tool", "handoff", "fallback"})


def result_of(answer: ExecutionAnswer, records: Sequence[EventRecord], agent: Agent | None) -> AgentResult:
    """What came of the execution; *agent*, when it is known, says the type of the answer.

    Raises:
        ExecutionError: E0410 the answer fits the schema of the agent's output type, but not the type itself.
    """
    mapper, conversation = EventMapper(), _Conversation()
    events: list[AgentEvent] = []
    for record in records:
        recorded = event_of(record)
        events += mapper.tell(record, recorded)
        if recorded is not None:
            conversation.take(recorded, record.at_ms)
    return AgentResult(
        output=_output(answer, agent),
        execution_id=answer.execution_id,
        status=Status(answer.status),
        finish_reason=_reason(answer.finish_reason),
        error=None if answer.error is None else from_wire(answer.error),
        usage=usage_of(answer.usage),
        messages=conversation.messages(),
        tool_calls=tool_calls_of(events),
        events=events,
        metadata={} if agent is None else agent.metadata,
        reason=answer.reason,
        sub_results=conversation.outputs,
    )


class _Conversation:
    """What was said in an execution: by its own model, and by the agents below it.

    Attributes:
        outputs: the last output of each agent below it, by name.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, Any] = {}
        self._transcript = Transcript()
        self._said: list[tuple[int, dict[str, Any]]] = []  # what others said, each after so many messages

    def take(self, event: AnyEvent, at_ms: int) -> None:
        """The next event."""
        asked = None
        if isinstance(event, ChildCompleted):
            asked = self._transcript.children.get(event.step)
            if asked is not None and asked.role in _VOICES:
                self.outputs[asked.agent] = event.output
        if not isinstance(event, ExecutionCompleted):  # who said the output has its own message
            self._transcript.fold(event, at_ms)
        # A child that was called like a tool has its words in the call's result.
        if isinstance(event, ChildCompleted) and asked is not None and asked.role in _VOICES - {"tool"}:
            said = entry_of(asked.agent, event.output, event.handover).message
            told = {"role": said.role, "agent": asked.agent, "parts": msgspec.to_builtins(said.parts)}
            self._said.append((len(self._transcript.messages), told))

    def messages(self) -> list[dict[str, Any]]:
        """The conversation as the model was shown it, with what others said where they said it."""
        own = msgspec.json.decode(msgspec.json.encode(self._transcript.messages), type=list[dict[str, Any]])
        for place, said in reversed(self._said):
            own.insert(place, said)
        return own


def tool_calls_of(events: Sequence[AgentEvent]) -> list[dict[str, Any]]:
    """Each call in the order in which the agent asked: name, args, call_id, and result, error or rejection.

    `args` are those that ran, with what the person who approved the call changed.
    """
    calls: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.step is None or event.tool_name is None or _is_no_call(event):
            continue
        call = calls.setdefault(
            event.step, {"name": event.tool_name, "args": event.args, "call_id": event.call_id}
        )
        if event.type == EventType.TOOL_CALL:
            call["args"] = event.args
        elif event.type == EventType.TOOL_RESULT:
            if event.error is None:
                call["result"] = event.result
            else:
                call["error"] = event.error.to_wire()
        elif event.type == EventType.APPROVAL and not event.approved:
            call |= {"rejected": True, "reason": event.content}
    return list(calls.values())


def _is_no_call(event: AgentEvent) -> bool:
    """It is about a function that decides, or asks a person about something else than a call."""
    return str(event.tool_name).startswith("@") or event.asks in {"pick", "guardrail", "budget"}


def _output(answer: ExecutionAnswer, agent: Agent | None) -> Any:
    if agent is None or agent.output_type is None or answer.status != Status.COMPLETED:
        return answer.output
    try:
        return parse_output(agent.output_type, answer.output)
    except ExecutionError as error:
        where = f"{error.where}, execution {answer.execution_id}"
        raise ExecutionError(error.code, error.what, where=where, why=error.why, **error.fields) from error


def _reason(reason: str | None) -> FinishReason | str | None:
    if reason is None:
        return None
    try:
        return FinishReason(reason)
    except ValueError:  # a newer server's
        return reason
