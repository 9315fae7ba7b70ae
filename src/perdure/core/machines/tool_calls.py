"""The turn machine's part about tool calls: which are accepted, who runs them, what their outcome means."""

import difflib
from typing import Any

from perdure.core import events as ev
from perdure.core import ids
from perdure.core import inputs as inp
from perdure.core.effects import OfferTask
from perdure.core.errors import ExecutionError, ToolError
from perdure.core.machines import answers, children, inbox, joints, passage, questions
from perdure.core.machines.backoff import MOST_LOST, retake_at, retry_at
from perdure.core.machines.draft import Draft, stale_error
from perdure.core.machines.turn_state import Step
from perdure.core.messages import Message, ToolCallPart, user
from perdure.core.plan import Plan, ToolPlan
from perdure.core.validation import problems


def accept_all(draft: Draft, message: Message) -> None:
    """Decide about all calls of an answer. A handover ends the execution, and the other calls are not run."""
    calls = message.tool_calls
    handing = next((c for c in calls if _hands_over(draft, c)), None)
    for index, call in enumerate(calls):
        step = f"t{draft.state.turn}.c{index}"
        if handing is None:
            accept(draft, step, call)
        elif call is not handing:
            error = ev.ErrorInfo("E0315", "The call was not run: the agent handed over in the same answer")
            draft.record(ev.ToolRefused(step, call.call_id, call.tool, error))
    if handing is not None:
        target = draft.scope.plan.tools[handing.tool].agent
        note = str((handing.arguments or {}).get("note", ""))
        handover = ev.Handover(target.name if target is not None else "", note)
        answers.complete(draft, message.text, "handover", handover=handover)


def _hands_over(draft: Draft, call: ToolCallPart) -> bool:
    tool = draft.scope.plan.tools.get(call.tool)
    return tool is not None and tool.kind == "handover" and _refusal(draft, tool, call) is None


def accept(draft: Draft, step: str, call: ToolCallPart) -> None:
    """Decide about a call that the model asks for: refuse it, ask a person, or offer it to the workers."""
    plan = draft.scope.plan
    tool = plan.tools.get(call.tool)
    refused = _refusal(draft, tool, call)
    if refused is not None or tool is None or call.arguments is None:
        error = refused or ev.ErrorInfo("E0304", f"There is no tool named {call.tool}")
        draft.record(ev.ToolRefused(step, call.call_id, call.tool, error))
    elif passage.has_stages(draft, f"{step}.i"):
        passage.enter(draft, f"{step}.i")
    else:
        _admit(draft, step, call.call_id, tool, call.arguments)


def _admit(draft: Draft, step: str, call_id: str, tool: ToolPlan, arguments: dict[str, Any]) -> None:
    if tool.approval_required:
        _ask(draft, step, call_id, tool, arguments, None)
    else:
        _begin(draft, step, call_id, tool, arguments)


def passed(draft: Draft, subject: str) -> None:
    """A call has passed its guardrails and callbacks: it runs, with the arguments that they left it."""
    step = joints.call_step(subject)
    name, asked = joints.called(draft, step)
    tool, arguments = draft.scope.plan.tools[name], joints.content(draft, subject)
    wrong = () if arguments == asked else problems(tool.spec.input_schema, arguments)
    # Calls of the same answer that are judged at the same time are each within the limit when they are accepted.
    error = _used_up(draft, tool)
    if wrong:
        error = ev.ErrorInfo(
            "E0305",
            "The arguments that a callback or a guardrail gave do not fit the tool's schema",
            where=f"tool {name}",
            why="; ".join(wrong),
        )
    if error is not None:
        draft.record(ev.ToolRefused(step, joints.call_id(draft, step), name, error))
        return
    _admit(draft, step, joints.call_id(draft, step), tool, arguments)


def ended(draft: Draft, step: str) -> None:
    """A call has its result: what judges results is asked, if anything does."""
    passage.enter(draft, f"{step}.r")


def _refusal(draft: Draft, tool: ToolPlan | None, call: ToolCallPart) -> ev.ErrorInfo | None:
    where = f"tool {call.tool}"
    if tool is None:
        return _unknown_tool(draft.scope.plan, call.tool)
    if call.arguments is None:
        return ev.ErrorInfo(
            "E0305",
            "The arguments are not a JSON object",
            where=where,
            why=(call.malformed or "")[:500],
            fix="Call the tool again with a JSON object that fits its schema.",
        )
    wrong = problems(tool.spec.input_schema, call.arguments)
    if wrong:
        return ev.ErrorInfo(
            "E0305",
            "The arguments do not fit the tool's schema",
            where=where,
            why="; ".join(wrong),
            fix="Call the tool again with corrected arguments.",
        )
    return _used_up(draft, tool)


def _used_up(draft: Draft, tool: ToolPlan) -> ev.ErrorInfo | None:
    if tool.max_calls is None:
        return None
    made = draft.state.calls.get(tool.spec.name, 0) + _asked_for(draft, tool.spec.name)
    if made < tool.max_calls:
        return None
    return ev.ErrorInfo(
        "E0306",
        f"The tool may be called {tool.max_calls} times in one execution, and that was done",
        where=f"tool {tool.spec.name}",
        fix="Go on without another call of this tool.",
    )


def _asked_for(draft: Draft, tool: str) -> int:
    """Calls that wait for a person's leave count before they are requested, so that a crowd cannot pass the limit.

    A question to a person is the call itself, and is counted where it is asked.
    """
    return sum(
        s.tool == tool and s.status == "approval" and s.unknown_epoch is None and s.asks is None
        for s in draft.state.steps.values()
    )


def _unknown_tool(plan: Plan, name: str) -> ev.ErrorInfo:
    close = difflib.get_close_matches(name, plan.tools, n=1)
    listed = ", ".join(plan.tools) or "none"
    return ev.ErrorInfo(
        "E0304",
        f"There is no tool named {name[:100]}",
        where=f"agent {plan.agent}",
        why=f"The tools are: {listed[:500]}.",
        fix=f"Did you mean {close[0]}?" if close else "Use one of the tools that are listed.",
    )


def _begin(draft: Draft, step: str, call_id: str, tool: ToolPlan, arguments: dict[str, Any]) -> None:
    """Run an accepted call: on a worker, as a child execution, or by asking a person."""
    if tool.kind == "message":
        inbox.wait_for(draft, step, call_id, tool)
        return
    if tool.kind == "human":
        questions.ask(draft, step, "question", tool.spec.name, arguments, tool.answer_schema or {}, call_id)
        return
    if tool.agent is None:
        _offer(draft, step, call_id, tool.spec.name, arguments)
        return
    text = (
        str(arguments.get("note" if tool.kind == "transfer" else "request", "")) or "Go on with the request."
    )
    history = None
    if tool.kind == "transfer":
        history = ev.HistoryRef(draft.scope.execution_id, "handoff", len(draft.scope.transcript.messages))
    children.request(
        draft,
        step,
        tool.agent,
        user(text),
        role="handoff" if tool.kind == "transfer" else "tool",
        history=history,
        call_id=call_id,
        tool=tool.spec.name,
    )


def _offer(draft: Draft, step: str, call_id: str, tool: str, arguments: dict[str, Any]) -> None:
    key = ids.idempotency_key(draft.scope.execution_id, step)
    offer = (OfferTask(step, tool),) if draft.state.phase == "active" else ()
    draft.record(ev.ToolRequested(step, call_id, tool, arguments, key), *offer)


def _hash(draft: Draft, step: str, tool: ToolPlan, arguments: dict[str, Any]) -> str:
    return ids.effect_hash(draft.scope.execution_id, step, tool.spec.name, tool.spec.input_schema, arguments)


def _ask(
    draft: Draft,
    step: str,
    call_id: str,
    tool: ToolPlan,
    arguments: dict[str, Any],
    unknown_epoch: int | None,
) -> None:
    # A call can be asked about twice: before it runs, and again when an attempt's outcome is unknown.
    name = step if unknown_epoch is None else f"{step}.u{unknown_epoch}"
    draft.record(
        ev.ApprovalRequested(
            step,
            call_id,
            tool.spec.name,
            arguments,
            ids.approval_id(draft.scope.execution_id, name),
            _hash(draft, step, tool, arguments),
            unknown_epoch,
        )
    )


def ask_live(draft: Draft, item: inp.AskLive) -> None:
    """Ask a person whether a replay may make a call that was not recorded; late, it changes nothing."""
    step, call = draft.state.steps.get(item.step), draft.scope.transcript.calls.get(item.step)
    if step is not None and step.status == "ready" and step.due_ms is None and call is not None:
        _ask(draft, item.step, call.call_id, draft.scope.plan.tools[call.tool], call.arguments, 0)


def take(draft: Draft, item: inp.TakeTask) -> None:
    """Give a ready step to a worker. A step that is not on offer any more changes nothing."""
    step = draft.state.steps.get(item.step)
    if step is None or step.status != "ready" or step.due_ms is not None or draft.state.phase != "active":
        return
    draft.record(ev.ToolStarted(item.step, step.attempt + 1, item.worker))


def _held(draft: Draft, step_id: str, epoch: int) -> Step:
    step = draft.state.steps.get(step_id)
    if step is None:
        raise stale_error(draft.scope, step_id, "the step is settled")
    if step.status != "leased" or step.attempt != epoch:
        raise stale_error(draft.scope, step_id, f"epoch {epoch} does not hold the lease")
    return step


def succeed(draft: Draft, item: inp.TaskSucceeded) -> Step:
    """Record the one result of a call (E3); gives the step as it was."""
    step = _held(draft, item.step, item.epoch)
    draft.record(ev.ToolCompleted(item.step, item.epoch, item.result, item.state or None, item.duration_ms))
    return step


def fail(draft: Draft, item: inp.TaskErrored) -> Step:
    """Record a failed attempt: tried again by the tool's policy, or told to the model. Gives the step as it was."""
    step = _held(draft, item.step, item.epoch)
    policy = draft.scope.plan.tool(step.tool or "").retry
    failures = step.failures + 1
    due = None
    if item.retryable and failures < policy.max_attempts:
        due = retry_at(policy, failures, draft.now_ms, item.jitter)
    draft.record(ev.ToolFailed(item.step, item.epoch, item.error, due))
    return step


def lose(draft: Draft, item: inp.TaskSilent) -> Step | None:
    """E7: the attempt is unknown, not failed; the tool's policy decides. A late notice changes nothing.

    Under the policy retry, `MOST_LOST` lost attempts are as the policy fail: a tool that always kills its worker would
    else kill workers without end. Under ask it is a person who ends it. Gives the step as it was, None when late.
    """
    step = draft.state.steps.get(item.step)
    if step is None or step.status != "leased" or step.attempt != item.epoch:
        return None
    tool = draft.scope.plan.tool(step.tool or "")
    if tool.on_unknown == "retry":
        _take_again(draft, item, step)
        return step
    draft.record(ev.ToolLost(item.step, item.epoch, item.reason, tool.on_unknown))
    if tool.on_unknown == "ask":
        call = draft.scope.transcript.calls[item.step]
        _ask(draft, item.step, call.call_id, tool, call.arguments, item.epoch)
    return step


def _take_again(draft: Draft, item: inp.TaskSilent, step: Step) -> None:
    losses = step.without_outcome
    if losses >= MOST_LOST:
        reason = f"{item.reason}; {losses} attempts were lost, and no further one is made"
        draft.record(ev.ToolLost(item.step, item.epoch, reason, "fail"))
        return
    due = retake_at(losses, draft.now_ms)
    now = due is None and draft.state.phase == "active"
    again = (OfferTask(item.step, step.tool or "", step.agent),) if now else ()
    draft.record(ev.ToolLost(item.step, item.epoch, item.reason, "retry", due), *again)


def decide(draft: Draft, item: inp.Decide) -> None:
    """Record a person's one decision about a call, bound to the hash of what will run.

    Raises:
        ExecutionError: E0408 decided already; E0409 the hash is of something else.
        ToolError: E0305 the edited arguments do not fit the tool.
    """
    found = next(((i, s) for i, s in draft.state.steps.items() if s.approval_id == item.approval_id), None)
    if found is None:
        raise ExecutionError(
            "E0408",
            "The approval has been decided already",
            where=f"approval {item.approval_id}",
            fix="Look at the approval: it says who decided what, and when.",
        )
    step_id, step = found
    if step.asks is not None:
        questions.answer(draft, item, step_id, step)
        return
    tool = draft.scope.plan.tools[step.tool or ""]
    # Dispatch runs what was asked; if that is not what the approval's hash says, nobody's yes covers it.
    asked = _hash(draft, step_id, tool, item.asked)
    if asked != step.effect_hash or item.effect_hash not in (None, asked):
        raise _mismatch(item, step.effect_hash or "")
    # By hash: Python takes 1, 1.0 and True for equal, and what a person wrote is what must run.
    same = item.arguments is None or _hash(draft, step_id, tool, item.arguments) == asked
    edited = None if same else item.arguments
    if edited is not None:
        _check_edit(item, step, tool, edited)
    arguments = item.asked if edited is None else edited
    draft.record(
        ev.ApprovalDecided(
            step_id,
            item.approval_id,
            item.decision,
            item.by,
            item.channel,
            _hash(draft, step_id, tool, arguments),
            item.reason,
            edited,
        )
    )
    if item.decision != "approved":
        return
    if step.unknown_epoch is None:
        _begin(draft, step_id, step.call_id or "", tool, arguments)
    elif draft.state.phase == "active":
        draft.effects.append(OfferTask(step_id, tool.spec.name))


def _mismatch(item: inp.Decide, expected: str) -> ExecutionError:
    return ExecutionError(
        "E0409",
        "The decision is about something else than what would run",
        where=f"approval {item.approval_id}",
        why="The effect hash of the decision is not that of the approval.",
        fix="Read the approval again and decide with the effect_hash that it shows.",
        effect_hash=expected,
    )


def _check_edit(item: inp.Decide, step: Step, tool: ToolPlan, edited: dict[str, Any]) -> None:
    where = f"approval {item.approval_id}, tool {tool.spec.name}"
    if item.decision == "rejected" or step.unknown_epoch is not None:
        # An attempt with the first arguments may have taken effect: the same key must mean the same effect.
        what = "a rejection" if item.decision == "rejected" else "a call whose outcome is unknown"
        raise ToolError(
            "E0305", f"The arguments of {what} cannot be edited", where=where, fix="Decide without arguments."
        )
    wrong = problems(tool.spec.input_schema, edited)
    if wrong:
        raise ToolError(
            "E0305",
            "The edited arguments do not fit the tool's schema",
            where=where,
            why="; ".join(wrong),
            fix="Correct the arguments and approve again; nothing was decided.",
        )
