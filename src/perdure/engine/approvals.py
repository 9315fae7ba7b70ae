"""The verbs on approvals: what waits for a person, and the one decision."""

from perdure.core import inputs as inp
from perdure.core.errors import ExecutionError
from perdure.engine.ports import ApprovalRow, Decision, Journal
from perdure.engine.residency import Residency


class ApprovalVerbs:
    """List, look at, decide."""

    def __init__(self, journal: Journal, residency: Residency) -> None:
        self._journal = journal
        self._residency = residency

    async def decide(self, approval_id: str, decision: Decision) -> ApprovalRow:
        """See `ports.Executions.decide`."""
        row = await self.approval(approval_id)
        if row.decision is not None:
            raise _decided(row)
        item = inp.Decide(
            approval_id=approval_id,
            decision=decision.decision,
            by=decision.by,
            channel=decision.channel,
            asked=row.arguments,
            effect_hash=decision.effect_hash,
            reason=decision.reason,
            arguments=decision.arguments,
            answer=decision.answer,
        )
        try:
            await self._residency.settle(row.execution_id, item)
        except ExecutionError as error:
            if error.code in ("E0408", "E0402"):
                raise _decided(await self.approval(approval_id)) from error
            raise
        return await self.approval(approval_id)

    async def approvals(
        self, execution_id: str | None, *, pending: bool, tree: bool = False
    ) -> list[ApprovalRow]:
        """See `ports.Executions.approvals`."""
        return await self._journal.approvals(execution_id=execution_id, pending=pending, tree=tree)

    async def approval(self, approval_id: str) -> ApprovalRow:
        """See `ports.Executions.approval`."""
        row = await self._journal.approval(approval_id)
        if row is None:
            raise ExecutionError(
                "E0407",
                "No approval has this id",
                where=f"approval {approval_id}",
                fix="`perdure ls --status waiting:approval` lists the executions that wait for a person.",
            )
        return row


def _decided(row: ApprovalRow) -> ExecutionError:
    who = f" by {row.decided_by}" if row.decided_by else ""
    what = "is void: the execution has ended" if row.decision == "void" else f"was {row.decision}{who}"
    return ExecutionError(
        "E0408",
        f"The approval {what}",
        where=f"approval {row.approval_id}, execution {row.execution_id}",
        fix="One decision is made per call; nothing was changed.",
        decision=row.decision,
        decided_by=row.decided_by,
        decided_at_ms=row.decided_at_ms,
    )
