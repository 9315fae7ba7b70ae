"""From what a person typed to an execution or an approval: whole ids, or beginnings of ids that are unambiguous."""

from perdure.cli import decide
from perdure.client import choice
from perdure.client.api import ApiClient
from perdure.core.errors import ExecutionError, PerdureError
from perdure.wire.types import ApprovalAnswer, ExecutionAnswer

PAGE = 200
PAGES = 25  # a beginning is looked for among this many pages of the newest executions
SHOWN = 5


async def execution(api: ApiClient, typed: str) -> ExecutionAnswer:
    """The execution of this id, or the only one whose id begins so.

    A root counts before the executions below it: their ids may begin like its own.

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
    roots = [e for e in found if e.parent_id is None]
    for fitting in (found, roots):
        if len(fitting) == 1:
            return fitting[0]
    raise _not_one("E0401", "execution", typed, [e.execution_id for e in found])


async def approval(api: ApiClient, typed: str, verb: choice.Verb) -> ApprovalAnswer:
    """The approval of this id, or the one that waits in or below the execution of this id; beginnings are good for both.

    *verb* is what is to be done with it.

    Raises:
        ExecutionError: E0407 none; E0415 the execution waits for none that the verb is for; E0416 several wait in it;
            E0408 it has been decided.
    """
    try:
        return await api.approval(typed)
    except PerdureError as error:
        if error.code != "E0407":
            raise
    pending = await api.approvals()
    waiting = [a for a in pending if a.approval_id.startswith(typed)]
    if not waiting and typed.startswith("x"):
        try:
            return await _below(api, (await execution(api, typed)).execution_id, verb)
        except PerdureError as error:
            if error.code != "E0401":
                raise
            # Several executions begin so; it is clear all the same when only one of them waits.
            waiting = [a for a in pending if a.execution_id.startswith(typed)]
    if len(waiting) == 1:
        return waiting[0]
    raise _not_one("E0407", "waiting approval", typed, [a.approval_id for a in waiting])


async def _below(api: ApiClient, root: str, verb: choice.Verb) -> ApprovalAnswer:
    """The one that waits there; the errors of `choice.only` in the words of the command line."""
    try:
        return await choice.only(api, root, verb)
    except ExecutionError as error:
        what, why, code = error.what, error.why, error.code
        fix = f"Type its id: perdure {verb} APPROVAL-ID."
        if code != "E0416":
            waiting = await api.approvals(root, tree=True)
            decided = [] if waiting else await api.approvals(root, pending=False, tree=True)
            commands = sorted({decide.verb_of(a.kind) for a in waiting})
            fix = f"Use {' or '.join(f'`perdure {c}`' for c in commands)}, or `perdure reject`."
            if not waiting:
                fix = f"See `perdure show {root}`."
            if decided:
                code, what, why = "E0408", "The approval has been decided already", _decision(decided[-1])
        raise ExecutionError(code, what, where=error.where, why=why, fix=fix) from None


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
