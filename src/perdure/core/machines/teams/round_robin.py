"""The round robin machine: the agents speak in turn, the first one first, until a condition or the limit ends it.

Who may follow whom can be limited: then the next one in the order who may follow goes on.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk
from perdure.core.plan import Member


def advance(draft: Draft) -> None:
    """See whether the conversation ends; else the next in turn speaks."""
    if not talk.conversation_ends(draft):
        _go_on(draft)


def _go_on(draft: Draft) -> None:
    member = _next(draft)
    if member is None:
        talk.nobody_follows(draft)
        return
    draft.record(ev.AgentChosen(member.name, "order"))
    talk.speak(draft, member)


def _next(draft: Draft) -> Member | None:
    members, active = talk.team_of(draft).members, draft.state.team.active
    allowed = {m.name for m in talk.candidates(draft)}
    place = next((i for i, m in enumerate(members) if m.name == active), -1)
    in_turn = [members[(place + 1 + i) % len(members)] for i in range(len(members))]
    return next((m for m in in_turn if m.name in allowed), None)


def function_ended(draft: Draft, _function: str, result: Any) -> None:
    """What the stop condition said."""
    talk.stop_decided(draft, result, _go_on)
