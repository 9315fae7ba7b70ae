"""From what a person typed to an execution or an approval: whole ids, or beginnings of ids that are unambiguous."""

from perdure.client.api import ApiClient
from perdure.core.errors import ExecutionError, PerdureError
from perdure.wire.types import ApprovalAnswer, ExecutionAnswer

PAGE = 200
PAGES = 25  # a beginning is looked for among this many pages of the newest executions
SHOWN = 5


async def execution(api: ApiClient, typed: str) -> ExecutionAnswer:
    """The execution of this id, or the only one whose id begins so.

    Raises:
        ExecutionError: E0401 none, or several, begin so.
    """
    try:
        return await api.execution(typed)
    except PerdureError as error:
        if error.code != "E0401":
            raise
    found: list[ExecutionAnswer] = []
    before: str | None = None
    for _ in range(PAGES):
        page = await api.executions(before=before, limit=PAGE)
        found += [e for e in page.executions if e.execution_id.startswith(typed)]
        before = page.next
        if before is None:
            break
    if len(found) == 1:
        return found[0]
    raise _not_one("E0401", "execution", typed, [e.execution_id for e in found])


async def approval(api: ApiClient, typed: str) -> ApprovalAnswer:
    """The approval of this id, or the one that waits in the execution of this id; beginnings are good for both.

    Raises:
        ExecutionError: E0407 none or several; E0415 the execution waits for no approval.
    """
    try:
        return await api.approval(typed)
    except PerdureError as error:
        if error.code != "E0407":
            raise
    waiting = [
        a
        for a in await api.approvals()
        if a.approval_id.startswith(typed) or a.execution_id.startswith(typed)
    ]
    if len(waiting) == 1:
        return waiting[0]
    if len(waiting) > 1:
        raise _not_one("E0407", "waiting approval", typed, [a.approval_id for a in waiting])
    if typed.startswith("x"):
        found = await execution(api, typed)
        decided = await api.approvals(found.execution_id, pending=False)
        raise ExecutionError(
            "E0408" if decided else "E0415",
            "The approval has been decided already" if decided else "The execution waits for no approval",
            where=f"execution {found.execution_id}, {found.status}",
            why=_decision(decided[-1]) if decided else "",
            fix=f"See `perdure show {found.execution_id}`.",
        )
    raise _not_one("E0407", "waiting approval", typed, [])


def _decision(approval: ApprovalAnswer) -> str:
    return f"{approval.tool} was {approval.decision} by {approval.decided_by}"


def _not_one(code: str, what: str, typed: str, ids: list[str]) -> ExecutionError:
    if not ids:
        return ExecutionError(
            code, f"No {what} has an id that is or begins with {typed!r}", fix="See `perdure ls`."
        )
    shown = ", ".join(ids[:SHOWN]) + (" …" if len(ids) > SHOWN else "")
    return ExecutionError(
        code, f"{len(ids)} {what}s match {typed!r}", why=shown, fix="Type more of the id, or all of it."
    )
