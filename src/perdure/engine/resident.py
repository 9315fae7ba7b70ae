"""An execution in memory: its last durable state, its conversation, and the inputs that wait for their turn."""

from collections import deque
from collections.abc import Callable, Sequence

from perdure.core import inputs as inp
from perdure.core.errors import PerdureError
from perdure.core.events import Event, ExecutionStarted, Origin, ParentRef
from perdure.core.machines.draft import Applied, Scope
from perdure.core.machines.turn_state import TurnState
from perdure.core.messages import Message
from perdure.core.plan import Plan
from perdure.core.requests import remembered
from perdure.core.tokens import Tokens, heuristic_tokens
from perdure.core.transcript import Transcript
from perdure.engine.ports import ApprovalRow, NewExecution, Status, StoredExecution

# Called on the event loop once an input's outcome is durable (E2), or with the error that stopped it; there is no
# resident when the error is that it could not be read.
Done = Callable[["Resident | None", Applied | PerdureError | StoredExecution], None]


class Resident:
    """One execution in memory. Only the driver changes it.

    `state` and `seq` are what is durable. While a commit is under way (`committing`), `transcript` may be ahead of
    it; when the commit fails the resident is given up and read again from the journal.
    """

    __slots__ = (
        "agent",
        "asked",
        "budgets",
        "committing",
        "created_at_ms",
        "depth",
        "faults",
        "idempotency_key",
        "joined",
        "lost",
        "mailbox",
        "new",
        "origin",
        "parent",
        "parent_id",
        "plan",
        "plan_hash",
        "scope",
        "seq",
        "session_id",
        "single",
        "started_by",
        "state",
        "status",
        "title",
        "touched",
        "transcript",
        "updated_at_ms",
    )

    def __init__(
        self,
        row: StoredExecution | NewExecution,
        plan: Plan,
        state: TurnState,
        history: Sequence[Message] = (),
        tokens: Tokens = heuristic_tokens,
    ) -> None:
        self.transcript = Transcript([*remembered(plan), *history])
        self.parent: ParentRef | None = None
        self.parent_id = row.parent_id
        self.depth = 0
        self.joined = False  # the conversation of its session before it stands in the transcript
        self.budgets: tuple[str, ...] = ()
        self.origin: Origin | None = None
        self.plan = plan
        self.scope = Scope(row.execution_id, plan, self.transcript, tokens)
        self.state = state
        self.seq = 0
        self.status: Status = "running"
        self.agent = row.agent
        self.plan_hash = row.plan_hash
        self.title = row.title
        self.started_by = row.started_by
        self.session_id = row.session_id
        self.idempotency_key = row.idempotency_key
        self.created_at_ms = row.created_at_ms
        self.updated_at_ms = row.created_at_ms
        self.new: NewExecution | None = row if isinstance(row, NewExecution) else None
        self.mailbox: deque[tuple[inp.Input, Done | None]] = deque()
        self.committing = False
        self.lost = False
        self.single = False  # one input to a commit: one of those that wait cannot be stored
        self.faults = 0
        self.asked: dict[str, ApprovalRow] = {}
        self.touched = 0.0
        if isinstance(row, StoredExecution):
            self.seq = row.last_seq
            self.status = row.status
            self.updated_at_ms = row.updated_at_ms

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return self.scope.execution_id

    def fold(self, event: Event, at_ms: int) -> None:
        """Take an event into the conversation."""
        if isinstance(event, ExecutionStarted):
            self.budgets = event.budgets
            self.origin = event.origin
            if event.parent is not None:
                self.parent, self.depth = event.parent, event.parent.depth
        self.transcript.fold(event, at_ms)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being written."""
        return not self.committing and not self.mailbox


# What is waited for, by the status of a step; the first of those that there are is the execution's. A child comes first,
# because work is going on below: it is what a restart must look after.
_WAITS: dict[str, Status] = {
    "child": "waiting:child",
    "session": "waiting:session",
    "approval": "waiting:approval",
    "message": "waiting:message",
}


def status_of(state: TurnState) -> Status:
    """The execution's status in one word, from its state alone."""
    if state.phase != "active":
        return "running" if state.phase == "new" else state.phase
    statuses = {step.status for step in state.steps.values()}
    offered = any(step.status == "ready" and step.due_ms is None for step in state.steps.values())
    if "approval" in statuses and state.replay == "fail":
        return "running"  # no person is asked: the recording decides, also after a restart
    if not statuses or offered or statuses & {"asking", "leased"}:
        return "running"
    return next((waits for status, waits in _WAITS.items() if status in statuses), "waiting:timer")
