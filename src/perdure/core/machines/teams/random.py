"""The random machine: each turn's speaker is drawn, fairly, and the draw is recorded.

The draw follows from the execution's id and the turn, so that the core stays without randomness of its own.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core import ids
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk


def advance(draft: Draft) -> None:
    """See whether the conversation ends; else draw who speaks."""
    if not talk.conversation_ends(draft):
        _go_on(draft)


def _go_on(draft: Draft) -> None:
    members = talk.candidates(draft)
    if not members:
        talk.nobody_follows(draft)
        return
    member = members[ids.draw(draft.scope.execution_id, draft.state.team.turns, len(members))]
    draft.record(ev.AgentChosen(member.name, "draw"))
    talk.speak(draft, member)


def function_ended(draft: Draft, _function: str, result: Any) -> None:
    """What the stop condition said."""
    talk.stop_decided(draft, result, _go_on)
