"""The port `Histories`: executions made out of others."""

from typing import Any, Literal, Protocol

import msgspec

from perdure.core.forking import Edit
from perdure.core.messages import Message
from perdure.core.plan import Plan
from perdure.engine.ports import Started

OnMissing = Literal["fail", "ask", "live"]


class HistoryRequest(msgspec.Struct, frozen=True):
    """Make an execution out of *execution_id*.

    Attributes:
        plan: what it runs; `members` are the plans of all agents below it, by hash.
        changes: what of the plan is not as it was, such as model: for the record.
        at: of a fork: a seq or the name of a step; None: the beginning.
        edit: of a fork: what is put in the place of what was recorded there; of a rerun: another `input`.
        context: of a rerun: another context; None: the old one.
        on_missing: of a replay: what is done about a call that was not recorded.
    """

    execution_id: str
    kind: Literal["retry", "rerun", "fork", "replay"]
    plan: Plan
    plan_hash: str
    started_by: str
    members: dict[str, Plan] = {}
    changes: tuple[str, ...] = ()
    idempotency_key: str | None = None
    at: int | str | None = None
    edit: Edit = Edit()
    context: dict[str, Any] | None = None
    on_missing: OnMissing = "fail"


class Histories(Protocol):
    """What is made out of the journals of executions; the old execution is never changed (E5)."""

    async def make(self, request: HistoryRequest) -> Started:
        """Begin the execution that the request asks for; the same key with the same request gives the same one.

        Raises:
            ExecutionError: E0401 no such execution; E0432 no such point, or the edit does not fit it; E0433 a retry of
                what has not failed; E0413 the key is of another request.
        """

    async def input_of(self, execution_id: str) -> Message:
        """What the execution was asked; E0401."""
