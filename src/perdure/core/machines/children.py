"""Child executions, as their parent's machine sees them: requested once, ended once.

Every invocation of an agent by another is an execution of its own. The parent records that it wants one, with the id
that it will have (E1); the engine begins it; its end comes back as an input and is recorded once (E3).
"""

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.effects import StartChild
from perdure.core.machines.draft import Draft
from perdure.core.messages import Message
from perdure.core.plan import Member

MAX_DEPTH = 50


def request(
    draft: Draft,
    step: str,
    member: Member,
    given: Message,
    *,
    role: ev.ChildRole = "member",
    history: ev.HistoryRef | None = None,
    call_id: str | None = None,
    tool: str = "",
) -> None:
    """Ask for a child execution of *member* that is given *given*."""
    if history is None and role in ("member", "router") and draft.scope.transcript.before:
        history = ev.HistoryRef(draft.scope.execution_id, "team", 0)
    child = ids.child_id(draft.now_ms, draft.scope.execution_id, step)
    effects = (StartChild(step, child),) if draft.state.phase == "active" else ()
    draft.record(
        ev.ChildRequested(
            step,
            child,
            member.name,
            given,
            plan_hash=member.plan_hash,
            role=role,
            call_id=call_id,
            tool=tool,
            history=history,
        ),
        *effects,
    )


def end(draft: Draft, item: inp.ChildEnded) -> bool:
    """Record the end of a child; False: it was recorded before, or the step is another child's."""
    step = draft.state.steps.get(item.step)
    if step is None or step.child_id != item.child_id:
        return False
    if item.status == "completed":
        draft.record(ev.ChildCompleted(item.step, item.output, item.finish_reason, item.usage, item.handover))
    else:
        error = item.error or ev.ErrorInfo("E0406", "The execution was cancelled")
        draft.record(ev.ChildFailed(item.step, error, item.status, item.usage))
    return True


def failed_error(draft: Draft, agent: str, error: ev.ErrorInfo) -> ev.ErrorInfo:
    """What an execution fails with because of a child."""
    return ev.ErrorInfo(
        "E0418",
        f"The agent {agent} failed: {error.what}",
        where=f"agent {draft.scope.plan.agent}" + (f"; {error.where}" if error.where else ""),
        why=" ".join(filter(None, (f"[{error.code}]", error.why))),
        fix=error.fix,
    )
