"""Functions of the user's that decide something: routers, gates, stop conditions. They run on workers, as tasks.

A function's result is recorded once, and in the same commit what it was taken for. E8: a function that fails, or gives
something else than it should, never counts as a yes: the execution fails, and says whose function it was and why.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import ids
from perdure.core.effects import OfferTask
from perdure.core.machines.draft import Draft


def request(draft: Draft, step: str, function: str, arguments: dict[str, Any], agent: str = "") -> None:
    """Ask a worker to run *function* of *agent*, this execution's own by default."""
    owner = agent or draft.scope.plan.agent
    key = ids.idempotency_key(draft.scope.execution_id, step)
    offer = (OfferTask(step, function, owner),) if draft.state.phase == "active" else ()
    draft.record(ev.FunctionRequested(step, function, owner, arguments, key), *offer)


def fail(draft: Draft, function: str, agent: str, why: str) -> None:
    """End the execution because a function did not say what it was asked (E8)."""
    error = ev.ErrorInfo(
        "E0417",
        f"The function {function} of the agent {agent} did not decide",
        where=f"agent {draft.scope.plan.agent}",
        why=why,
        fix="Mend the function; what it fails to say is never taken for a yes.",
    )
    draft.end(ev.ExecutionFailed(error))


def yes_or_no(draft: Draft, function: str, agent: str, result: Any, field: str) -> bool | None:
    """What a function decided; None when it did not, and the execution has failed for it (E8)."""
    said: bool | None = answer(result, field, bool)
    if said is None:
        fail(draft, function, agent, f"It gave {result!r:.200}, not a yes or no.")
    return said


def answer(result: Any, field: str, of: type) -> Any:
    """The field of a function's result, or None when it is not what was agreed."""
    value = result.get(field) if isinstance(result, dict) else None
    # bool is a kind of int for Python, and not for us.
    return value if isinstance(value, of) and (of is bool or not isinstance(value, bool)) else None
