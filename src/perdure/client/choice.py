"""Which approval is meant: the one that was named, or the only one that waits in an execution or below it.

A person who knows the root's id decides about everything below it. What can be approved is leave for a call, for what a
guardrail did not pass, or to use more than a budget; a question and a pick are answered; all of them can be rejected.
"""

from collections.abc import Sequence
from typing import Literal

from perdure.client.api import ApiClient
from perdure.core.errors import ExecutionError
from perdure.wire.types import ApprovalAnswer

Verb = Literal["approve", "reject", "respond"]

MAX_DEPTH = 50  # as deep as agents may call each other
_KINDS: dict[str, frozenset[str]] = {
    "approve": frozenset({"call", "guardrail", "budget"}),
    "respond": frozenset({"question", "pick", "guardrail", "budget"}),
    "reject": frozenset({"call", "guardrail", "budget", "question", "pick"}),
}
_OVER = frozenset({"completed", "failed", "cancelled"})


async def named(api: ApiClient, approval_id: str, root: str) -> ApprovalAnswer:
    """The approval of this id, in the execution *root* or below it.

    Raises:
        ExecutionError: E0407 none has this id, or it belongs to another execution.
    """
    found = await api.approval(approval_id)
    above: str | None = found.execution_id
    for _ in range(MAX_DEPTH + 1):
        if above is None or above == root:
            break
        above = (await api.execution(above)).parent_id
    if above != root:
        raise ExecutionError(
            "E0407",
            "The approval belongs to another execution",
            where=f"approval {approval_id}, execution {found.execution_id}",
            fix=f"Use AgentHandle({found.execution_id!r}).",
        )
    return found


async def only(api: ApiClient, root: str, verb: Verb) -> ApprovalAnswer:
    """The one approval that waits in *root* or below it and that *verb* is for.

    Raises:
        ExecutionError: E0416 several do; E0415 none does; E0402 the execution has ended.
    """
    pending = await api.approvals(root, tree=True)
    fitting = [a for a in pending if a.kind in _KINDS[verb]]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise several(root, fitting)
    status = (await api.execution(root)).status
    if pending:
        kinds = ", ".join(sorted({a.kind for a in pending}))
        other = "respond" if verb == "approve" else "approve"
        raise ExecutionError(
            "E0415",
            f"Nothing that waits is for {verb}: what waits is a {kinds}",
            where=f"execution {root}",
            why=listed(pending),
            fix=f"Use {other}, or reject.",
        )
    raise ExecutionError(
        "E0402" if status in _OVER else "E0415",
        f"The execution waits for no approval: it is {status}",
        where=f"execution {root}",
    )


def several(root: str, pending: Sequence[ApprovalAnswer]) -> ExecutionError:
    """More than one waits."""
    return ExecutionError(
        "E0416",
        f"{len(pending)} approvals wait: say which is meant",
        where=f"execution {root}",
        why=listed(pending),
        fix="Give its id: approve(approval_id=...).",
        approvals=[a.approval_id for a in pending],
    )


def listed(pending: Sequence[ApprovalAnswer]) -> str:
    """The approvals on one line: id, what is asked, of which agent, in which execution."""
    return "; ".join(
        f"{a.approval_id}: {a.tool}({a.arguments}) of {a.agent} in {a.execution_id}" for a in pending
    )
