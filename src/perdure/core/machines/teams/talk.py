"""What the team machines share: what was said so far, the next speaker's execution, the end.

A machine decides in the middle of an `apply`: what the events of this very input say is not in the transcript yet, and
stands in the draft.
"""

from collections.abc import Callable
from typing import Any

from perdure.core import conditions
from perdure.core import events as ev
from perdure.core.history import Entry, conversation_text, entry_of, introductions, last_in_view, text_of
from perdure.core.machines import answers, children, functions
from perdure.core.machines.draft import Draft
from perdure.core.messages import Message, TextPart, user
from perdure.core.plan import Member, TeamPlan
from perdure.core.validation import parse_answer, problems


def team_of(draft: Draft) -> TeamPlan:
    """The plan's team; there is one whenever a team machine runs."""
    team = draft.scope.plan.team
    if team is None:
        raise ValueError("a plan without a team has no team machine")
    return team


def entries(draft: Draft) -> list[Entry]:
    """What was asked, and what the agents said, up to this moment."""
    found = list(draft.scope.transcript.entries)
    started = draft.event_of(ev.ExecutionStarted)
    if started is not None:
        found.append(Entry("", draft.opening(started)))
    for event in draft.events:
        if isinstance(event, ev.MessageReceived):
            found.append(Entry("", event.message))
        elif isinstance(event, ev.Replaced) and event.subject == "in":
            found[0] = Entry("", draft.asked_with(event.value))
        elif isinstance(event, ev.ChildCompleted):
            asked = draft.child(event.step)
            if asked is not None and asked.role == "member":
                found.append(entry_of(asked.agent, event.output, event.handover))
    return found


def speak(draft: Draft, member: Member) -> None:
    """Begin the next agent's turn of a conversation: it sees all that was said, the last of it as its input."""
    said = entries(draft)
    before = len(said) - 1
    history = ev.HistoryRef(draft.scope.execution_id, "team", before) if before else None
    given = last_in_view(said, team_of(draft).members, member.name)
    if given.role != "user":  # the same agent again: it goes on from its own words
        history = ev.HistoryRef(draft.scope.execution_id, "team", len(said))
        given = user("Go on.")
    children.request(draft, f"c{draft.state.team.turns + 1}", member, given, history=history)


def opening_for(draft: Draft, member_of: TeamPlan) -> Message:
    """The team's input as its agents get it, with the introductions before it."""
    given = entries(draft)[0].message
    told = introductions(member_of.members)
    return Message("user", (TextPart(told + "\n\n"), *given.parts)) if told else given


def fail_with_child(draft: Draft, failed: ev.ChildFailed) -> None:
    """A team fails with its child."""
    asked = draft.child(failed.step)
    error = children.failed_error(draft, asked.agent if asked else failed.step, failed.error)
    draft.end(ev.ExecutionFailed(error, partial=_last_words(draft)))


def _last_words(draft: Draft) -> str:
    said = [e for e in entries(draft) if e.author]
    return said[-1].text if said else ""


def finish(draft: Draft, output: Any, finish_reason: str = "stop", reason: str = "") -> None:
    """End with *output*, if it fits the output type."""
    wanted = draft.scope.plan.output
    if wanted is not None:
        value, wrong = parse_answer(output) if isinstance(output, str) else (output, None)
        errors = (wrong,) if wrong else problems(wanted.schema, value)
        if errors:
            error = ev.ErrorInfo(
                "E0410",
                f"The team's answer does not fit the output type {wanted.name}",
                where=f"agent {draft.scope.plan.agent}",
                why="; ".join(errors),
                fix="Give the last agent the same output_type, or let the team sum up with synthesize=True.",
            )
            draft.end(ev.ExecutionFailed(error, finish_reason="output_invalid", partial=text_of(output)))
            return
        output = value
    answers.complete(draft, output, finish_reason, reason)


def sum_up_or_finish(draft: Draft, output: Any, finish_reason: str = "stop", reason: str = "") -> None:
    """Let the team's own model sum up, where it should and there is more than one voice; else end with *output*."""
    voices = {e.author for e in entries(draft) if e.author}
    if team_of(draft).synthesize and len(voices) > 1:
        draft.record(ev.AgentChosen(draft.scope.plan.agent, "synthesis", reason))
    else:
        finish(draft, output, finish_reason, reason)


def candidates(draft: Draft) -> list[Member]:
    """Who may follow the agent that spoke last."""
    team = team_of(draft)
    allowed = team.transitions.get(draft.state.team.active) if draft.state.team.active else None
    return [m for m in team.members if allowed is None or m.name in allowed]


def conversation_ends(draft: Draft) -> bool:
    """End a conversation by a condition of data or the limit of turns, or ask the function.

    True: it is over, or the function has been asked.
    """
    plan, team = draft.scope.plan, draft.state.team
    if not team.turns:
        return False
    said = entries(draft)
    if plan.termination is not None:
        why = conditions.met(
            plan.termination, conditions.Said(said[-1].text, len(said) - 1, draft.state.usage)
        )
        if why:
            sum_up_or_finish(draft, said[-1].output, "termination", why)
            return True
    if team.turns >= plan.max_turns:
        sum_up_or_finish(draft, said[-1].output, "max_turns", f"{plan.max_turns} turns were taken")
        return True
    if plan.stop_when and team.phase == "ready":
        functions.request(
            draft,
            f"c{team.turns}.stop",
            "@stop_when",
            {"result": said[-1].text, "messages": listed(said), "iteration": team.turns},
        )
        return True
    return False


def listed(said: list[Entry]) -> list[dict[str, str]]:
    """A conversation as JSON for functions."""
    return [{"author": e.author or "user", "text": e.text} for e in said]


def stop_decided(draft: Draft, result: Any, go_on: Callable[[Draft], None]) -> None:
    """What the function `@stop_when` said after a turn of a conversation."""
    stop = functions.yes_or_no(draft, "@stop_when", draft.scope.plan.agent, result, "stop")
    if stop is None:
        return
    draft.record(ev.StopDecided(draft.state.team.turns, stop))
    if stop:
        sum_up_or_finish(draft, entries(draft)[-1].output, "termination", "stop_when said so")
    else:
        go_on(draft)


def nobody_follows(draft: Draft) -> None:
    """End a conversation because nobody may speak after who spoke last."""
    finish(draft, entries(draft)[-1].output, "done", f"nobody may follow {draft.state.team.active}")


def whole_text(draft: Draft) -> str:
    """The conversation so far, for a function or a router."""
    return conversation_text(entries(draft))
