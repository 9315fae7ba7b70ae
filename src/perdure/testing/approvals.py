"""Who decides in a test: a policy instead of a person.

True, False                          approve, or reject, every call
{"refund": False, "ask": "blue"}     by the tool's name, else the agent's, else `*`; for a question (`human_tool`) and
                                     for a pick of the strategy manual (`pick_agent`), the value is the answer
[True, False]                        one after the other, as a value of such a dict
Decision(...)                        all that a person can say
a function                           of the approval; gives any of these
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perdure.client.api import ApiClient
from perdure.core.errors import ClientError, PerdureError
from perdure.wire.types import ApprovalAnswer, DecisionBody

BY = "tester"


@dataclass(frozen=True)
class Decision:
    """What a person says about an approval.

    Attributes:
        approved: whether the call may run, or the question is answered at all.
        reason: for the agent and the record.
        arguments: run it with these instead.
        answer: to a question.
    """

    approved: bool = True
    reason: str = ""
    arguments: dict[str, Any] | None = None
    answer: Any = None


class Approver:
    """Decides what waits, by a policy. None decides nothing, and says so when something waits (E0705)."""

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self._used: dict[str, int] = {}
        self._said: dict[
            str, Decision
        ] = {}  # by approval: one that is asked about again gets the same answer

    async def decide_all(self, api: ApiClient) -> int:
        """Decide all that waits; how many there were.

        Raises:
            ClientError: E0705 the policy has nothing to say about one.
        """
        pending = await api.approvals(None)
        for approval in pending:
            said = self._said.get(approval.approval_id)
            if said is None:
                said = self._said[approval.approval_id] = await self._decision(approval)
            body = DecisionBody(
                decision="approved" if said.approved else "rejected",
                effect_hash=approval.effect_hash,
                reason=said.reason,
                arguments=said.arguments,
                by=BY,
                channel="test",
                answer=said.answer,
            )
            try:
                await api.decide(approval.approval_id, body)
            except PerdureError as error:
                if error.code not in {"E0402", "E0408"}:  # it ended, or was decided, in the meantime
                    raise
        return len(pending)

    async def _decision(self, approval: ApprovalAnswer) -> Decision:
        said = self._policy
        if isinstance(said, Mapping):
            names = (approval.tool, approval.agent, "*")
            name = next((name for name in names if name in said), None)
            said = None if name is None else said[name]
        if isinstance(said, list):
            said = self._next(approval, said)
        if callable(said):
            said = said(approval)
            said = await said if isinstance(said, Awaitable) else said
        if isinstance(said, Decision):
            return said
        if said is None:
            raise _undecided(approval)
        if approval.kind in {"question", "pick"} and said is not False:
            if self._policy is True:
                raise _undecided(approval, "True lets a call run, and is no answer to a question.")
            return Decision(answer=_fitted(said, approval))
        if isinstance(said, bool):
            return Decision(said)
        raise _undecided(approval, f"The policy gave {said!r:.200}.")

    def _next(self, approval: ApprovalAnswer, said: list[Any]) -> Any:
        number = self._used.get(approval.tool, 0)
        self._used[approval.tool] = number + 1
        return said[number] if number < len(said) else None


def _fitted(said: Any, approval: ApprovalAnswer) -> Any:
    """A bare answer, put into the one field of an object where the question asks for one."""
    schema = approval.answer_schema or {}
    needed = schema.get("required") or list(schema.get("properties", {}))
    if schema.get("type") == "object" and not isinstance(said, dict) and len(needed) == 1:
        return {needed[0]: said}
    return said


def _undecided(approval: ApprovalAnswer, why: str = "") -> ClientError:
    asked = {"question": "answer", "pick": "choose"}.get(approval.kind, "decide")
    return ClientError(
        "E0705",
        f"The run waits for a person to {asked}: {approval.tool}({approval.arguments})",
        where=f"execution {approval.execution_id}, agent {approval.agent}, step {approval.step}",
        why=why or "The run was given no answer to it.",
        fix=f"Give one: approve=True, or approve={{{approval.tool!r}: ...}}.",
        approval_id=approval.approval_id,
    )


Approve = bool | Decision | Mapping[str, Any] | Callable[[ApprovalAnswer], Any] | None
