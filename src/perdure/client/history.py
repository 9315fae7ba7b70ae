"""From the journal of an execution that has ended to its `AgentResult`. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.output import parse_output
from perdure.agents.results import AgentEvent, AgentResult, EventType, FinishReason, Status
from perdure.client.mapping import EventMapper, event_of, usage_of
from perdure.core.errors import ExecutionError, from_wire
from perdure.core.transcript import Transcript
from perdure.wire.types import EventRecord, ExecutionAnswer


def result_of(answer: ExecutionAnswer, records: Sequence[EventRecord], agent: Agent | None) -> AgentResult:
    """What came of the execution; *agent*, when it is known, says the type of the answer.

    Raises:
        ExecutionError: E0410 the answer fits the schema of the agent's output type, but not the type itself.
    """
    mapper, transcript = EventMapper(), Transcript()
    events: list[AgentEvent] = []
    for record in records:
        recorded = event_of(record)
        events += mapper.tell(record, recorded)
        if recorded is not None:
            transcript.fold(recorded, record.at_ms)
    return AgentResult(
        output=_output(answer, agent),
        execution_id=answer.execution_id,
        status=Status(answer.status),
        finish_reason=_reason(answer.finish_reason),
        error=None if answer.error is None else from_wire(answer.error),
        usage=usage_of(answer.usage),
        messages=messages_of(transcript),
        tool_calls=tool_calls_of(events),
        events=events,
        metadata={} if agent is None else agent.metadata,
    )


def messages_of(transcript: Transcript) -> list[dict[str, Any]]:
    """The conversation as the model was shown it."""
    return msgspec.json.decode(msgspec.json.encode(transcript.messages), type=list[dict[str, Any]])


def tool_calls_of(events: Sequence[AgentEvent]) -> list[dict[str, Any]]:
    """Each call in the order in which the agent asked: name, args, call_id, and result, error or rejection.

    `args` are those that ran, with what the person who approved the call changed.
    """
    calls: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.step is None or event.tool_name is None:
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
