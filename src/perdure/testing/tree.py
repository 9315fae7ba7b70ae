"""A whole run: an execution and all below it, read over the wire from any server, and what it means.

A `Tree` is what is recorded; a `RunResult` is an `AgentResult` whose events are those of the whole tree, in the order of
cause: what a child did stands before its parent heard of its end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.results import AgentEvent, AgentResult, EventType
from perdure.client.api import ApiClient
from perdure.client.default import default_session
from perdure.client.handle import EVENTS_PAGE, HasSession
from perdure.client.history import result_of
from perdure.client.mapping import EventMapper, event_of
from perdure.core import events as ev
from perdure.core.model import ModelRequest
from perdure.testing.ledger import ToolAttempt
from perdure.wire.types import EventRecord, ExecutionAnswer


@dataclass(frozen=True)
class Node:
    """One execution of a tree.

    Attributes:
        path: its place: the root's is empty, a child's is its parent's and the step that asked for it, `c1/t2.c0`.
        answer: what the server says of it.
        records: its events as they crossed the wire; `events` are the same, read.
        children: by the step that asked for them.
    """

    path: str
    answer: ExecutionAnswer
    records: list[EventRecord]
    events: list[ev.AnyEvent]
    children: "dict[str, Node]" = field(default_factory=dict)

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.answer.agent

    def walk(self) -> "Iterator[Node]":
        """This execution, then all below it, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()

    def in_order(self) -> "Iterator[tuple[Node, EventRecord, ev.AnyEvent]]":
        """The events of the whole tree: a child's stand before its end is heard of by its parent."""
        left = dict(self.children)
        for record, event in zip(self.records, self.events, strict=True):
            if isinstance(event, ev.ChildCompleted | ev.ChildFailed) and event.step in left:
                yield from left.pop(event.step).in_order()
            elif isinstance(event, ev.TERMINAL):
                for child in left.values():
                    yield from child.in_order()
                left = {}
            yield self, record, event


@dataclass(frozen=True)
class RunResult(AgentResult):
    """What came of a run, with all that happened in it.

    Attributes:
        events: of the execution and all below it, in the order of cause.
        agents: which agent each execution is of, by its id.
        tree: what is recorded.
        requests: what the models were asked, in order; empty when the run was on a server.
        attempts: what really ran in the worker, in order; empty when the run was on a server.
        elapsed_ms: virtual time that it took.
    """

    agents: dict[str, str] = field(default_factory=dict)
    tree: Node | None = None
    requests: list[ModelRequest] = field(default_factory=list)
    attempts: list[ToolAttempt] = field(default_factory=list)
    elapsed_ms: int = 0


async def read_tree(api: ApiClient, execution_id: str, path: str = "") -> Node:
    """An execution and all below it.

    Raises:
        ExecutionError: E0401 there is none.
        ClientError: E0703 its events are of a newer version.
    """
    answer = await api.execution(execution_id)
    records: list[EventRecord] = []
    while True:
        page = await api.events(execution_id, len(records), EVENTS_PAGE)
        records += page.events
        if not page.events or records[-1].seq >= page.last_seq:
            break
    node = Node(path, answer, records, read_events(records))
    for step, child_id in _children_of(node):
        node.children[step] = await read_tree(api, child_id, f"{path}/{step}" if path else step)
    return node


def _children_of(node: Node) -> list[tuple[str, str]]:
    return [(e.step, e.child_id) for e in node.events if isinstance(e, ev.ChildRequested)]


def read_events(records: list[EventRecord]) -> list[ev.AnyEvent]:
    """The records' events; those of a kind that only a newer version knows are an error.

    Raises:
        ValueError: such a kind.
    """
    found = []
    for record in records:
        event = event_of(record)
        if event is None:
            raise ValueError(f"{record.event.get('kind')!r} is not a kind of event that this version knows")
        found.append(event)
    return found


def run_result(
    tree: Node,
    agent: Agent | None,
    *,
    requests: list[ModelRequest] | None = None,
    attempts: list[ToolAttempt] | None = None,
) -> RunResult:
    """What came of the run that *tree* records; *agent*, when it is known, says the type of the answer.

    Raises:
        ExecutionError: E0410 the answer fits the schema of the agent's output type, but not the type itself.
    """
    own = result_of(tree.answer, tree.records, agent)
    plain: dict[str, Any] = {f.name: getattr(own, f.name) for f in fields(AgentResult)}
    began, ended = tree.records[0].at_ms, tree.records[-1].at_ms
    calls = [call for node in tree.walk() for call in result_of(node.answer, node.records, None).tool_calls]
    return RunResult(
        **plain
        | {
            "events": _events(tree),
            "tool_calls": [call for call in calls if not call["name"].startswith("@")],
            "agents": {node.answer.execution_id: node.agent for node in tree.walk()},
            "tree": tree,
            "requests": requests or [],
            "attempts": attempts or [],
            "elapsed_ms": ended - began,
        }
    )


def _events(tree: Node) -> list[AgentEvent]:
    mappers: dict[str, EventMapper] = {}
    found: list[AgentEvent] = []
    for node, record, event in tree.in_order():
        mapper = mappers.setdefault(node.path, EventMapper())
        found += mapper.tell(record, event) or _further(record, event)
    return found


def _further(record: EventRecord, event: ev.AnyEvent) -> list[AgentEvent]:
    """Who goes on, and what guardrails said, where the mapping of single executions has nothing for it."""
    place: dict[str, Any] = {
        "execution_id": record.execution_id,
        "seq": record.seq,
        "at_ms": record.at_ms,
        "kind": str(record.event.get("kind", "")),
    }
    if isinstance(event, ev.AgentChosen) and event.by in {"handover", "condition", "router", "person"}:
        return [AgentEvent(EventType.HANDOFF, content=event.reason, target=event.agent, by=event.by, **place)]
    if isinstance(event, ev.ChildRequested) and event.role == "handoff":
        return [AgentEvent(EventType.HANDOFF, target=event.agent, step=event.step, **place)]
    if isinstance(event, ev.GuardDecided):
        kind = EventType.GUARDRAIL_PASS if event.passed else EventType.GUARDRAIL_FAIL
        return [AgentEvent(kind, content=event.message, guardrail_name=event.guard, **place)]
    return []


async def gather_async(
    execution: AgentResult | str, runtime: HasSession | None = None, agent: Agent | None = None
) -> RunResult:
    """See `gather`."""
    execution_id = execution if isinstance(execution, str) else execution.execution_id
    session = default_session() if runtime is None else runtime.session
    api = (await session.connection()).api
    return run_result(await read_tree(api, execution_id), agent)


def gather(
    execution: AgentResult | str, runtime: HasSession | None = None, agent: Agent | None = None
) -> RunResult:
    """The whole run of an execution that is on a server: what `expect` and `validate_strategy` look at for teams.

    Args:
        execution: a result, or an execution's id.
        runtime: whose server; the default runtime's when it is None.
        agent: the agent, for the type of its answer.

    Raises:
        ExecutionError: E0401 there is no such execution.
    """
    session = default_session() if runtime is None else runtime.session
    return session.call(gather_async(execution, runtime, agent))


def to_json(value: Any) -> Any:
    """*value* as JSON values, whatever Struct it is."""
    return msgspec.json.decode(msgspec.json.encode(value))
