"""The parallel machine: all agents get the request at the same time; their answers are put together by name.

What happens when one fails is the team's choice: `fail` ends all at once, `wait` lets the others finish and then
fails, `skip` leaves it out, as long as one has answered.
"""

from perdure.core import events as ev
from perdure.core.history import conversation_text
from perdure.core.machines import children
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk


def advance(draft: Draft) -> None:
    """Begin all, or put the answers together when the last has ended."""
    team = talk.team_of(draft)
    if draft.state.team.phase == "ready":
        given = talk.opening_for(draft, team)
        for number, member in enumerate(team.members, start=1):
            children.request(draft, f"c{number}", member, given)
        return
    _put_together(draft)


def child_failed(draft: Draft, failed: ev.ChildFailed) -> None:
    """End all at once, or see when all have ended."""
    if talk.team_of(draft).on_child_failure == "fail":
        talk.fail_with_child(draft, failed)


def _put_together(draft: Draft) -> None:
    team = talk.team_of(draft)
    answers = {entry.author: entry for entry in talk.entries(draft) if entry.author}
    missing = [m.name for m in team.members if m.name not in answers]
    if missing and (team.on_child_failure != "skip" or not answers):
        error = ev.ErrorInfo(
            "E0418",
            f"{len(missing)} of {len(team.members)} agents failed: {', '.join(missing)}",
            where=f"agent {draft.scope.plan.agent}",
            why="The events child_failed say why each did.",
            fix='Give the team on_child_failure="skip" if the answers of the others are enough.',
        )
        draft.end(ev.ExecutionFailed(error))
        return
    said = [answers[m.name] for m in team.members if m.name in answers]
    talk.sum_up_or_finish(draft, conversation_text(said))
