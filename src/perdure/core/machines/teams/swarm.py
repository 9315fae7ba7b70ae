"""The swarm machine: the agents hand over to each other, by tools or by conditions; who is not followed has the last word.

The first agent begins (the team itself, when it has a model and instructions of its own). After each turn, in this
order: the handover that the agent asked for, the conditions of the team. A condition that is a function runs on a
worker. When nobody takes over, the last answer is the team's.
"""

from typing import Any

from perdure.core import conditions
from perdure.core import events as ev
from perdure.core.history import Entry
from perdure.core.machines import functions
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk


def advance(draft: Draft) -> None:
    """Begin with the first, or see who takes over."""
    if not draft.state.team.turns:
        _goes_on(draft, talk.team_of(draft).members[0].name, "order", "")
    elif not talk.conversation_ends(draft):
        _after_turn(draft)


def _after_turn(draft: Draft) -> None:
    handover = talk.entries(draft)[-1].handover
    if handover is not None and _allowed(draft, handover.agent):
        _goes_on(draft, handover.agent, "handover", handover.note)
    else:
        _look(draft, 0)


def _look(draft: Draft, first: int) -> None:
    """The conditions from the *first* on; the last word when none is met."""
    said = talk.entries(draft)[-1]
    for number, condition in enumerate(talk.team_of(draft).handoffs[first:], start=first):
        if not _allowed(draft, condition.target):
            continue
        if isinstance(condition, conditions.OnTextMention):
            if conditions.contains(said.text, condition.text, case_sensitive=False):
                _goes_on(draft, condition.target, "condition", f"the text {condition.text!r} was mentioned")
                return
        elif isinstance(condition, conditions.OnFunction):
            _ask(draft, number, condition.target, said)
            return
    talk.sum_up_or_finish(draft, said.output)


def _ask(draft: Draft, number: int, target: str, said: Entry) -> None:
    arguments = {"text": said.text, "agent": said.author, "messages": talk.listed(talk.entries(draft))}
    functions.request(draft, f"c{draft.state.team.turns}.h{number}", f"@handoff.{target}", arguments)


def _allowed(draft: Draft, name: str) -> bool:
    team = draft.state.team
    return name != team.active and any(m.name == name for m in talk.candidates(draft))


def _goes_on(draft: Draft, name: str, by: str, reason: str) -> None:
    member = talk.team_of(draft).member(name)
    if member is not None:
        draft.record(ev.AgentChosen(name, by, reason))
        talk.speak(draft, member)


def function_ended(draft: Draft, function: str, result: Any) -> None:
    """What the stop condition, or a handoff condition, said."""
    if function == "@stop_when":
        talk.stop_decided(draft, result, _after_turn)
        return
    target = function.removeprefix("@handoff.")
    is_met = functions.yes_or_no(draft, function, draft.scope.plan.agent, result, "handoff")
    if is_met is None:
        return
    draft.record(ev.HandoffDecided(target, is_met))
    if is_met:
        _goes_on(draft, target, "condition", "its function said so")
        return
    listed = talk.team_of(draft).handoffs
    asked = next(
        i for i, c in enumerate(listed) if isinstance(c, conditions.OnFunction) and c.target == target
    )
    _look(draft, asked + 1)
