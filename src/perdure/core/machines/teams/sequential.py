"""The sequential machine: a pipeline. Each stage's agent gets the request and what the stage before it made of it.

Between two stages stands the gate of the first, if it has one: a text that its output must not have, or a function. A
closed gate ends the pipeline with that output. A stage that fails ends it with an error.
"""

from typing import Any

from perdure.core import conditions
from perdure.core import events as ev
from perdure.core.history import Entry
from perdure.core.machines import children, functions
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk
from perdure.core.messages import Message, TextPart
from perdure.core.plan import Member


def advance(draft: Draft) -> None:
    """Begin the first stage, or see what comes after the one that has ended."""
    if draft.state.team.phase == "ready":
        _stage(draft, None)
    elif draft.state.team.phase == "ended":
        _after(draft, talk.entries(draft)[-1])


def _after(draft: Draft, said: Entry) -> None:
    """What comes after a stage: the end, its gate, or the next stage."""
    members, done = talk.team_of(draft).members, draft.state.team.turns
    member = members[done - 1]
    if done == len(members):
        talk.sum_up_or_finish(draft, said.output)
    elif isinstance(member.gate, conditions.TextGate):
        is_open = conditions.is_open(member.gate, said.output)
        reason = "" if is_open else f"its output has the text {member.gate.text!r}"
        _gated(draft, member, said, is_open=is_open, reason=reason)
    elif member.gate is not None:
        functions.request(draft, f"c{done}.gate", "@gate", {"output": said.output}, member.name)
    else:
        _stage(draft, said)


def _gated(draft: Draft, member: Member, said: Entry, *, is_open: bool, reason: str) -> None:
    draft.record(ev.GateDecided(member.name, is_open, reason))
    if is_open:
        _stage(draft, said)
    else:
        talk.finish(draft, said.output, "gate", reason or f"the gate of {member.name} is closed")


def _stage(draft: Draft, said: Entry | None) -> None:
    number = draft.state.team.turns
    member = talk.team_of(draft).members[number]
    given = talk.opening_for(draft, talk.team_of(draft)) if not number else talk.entries(draft)[0].message
    if said is not None:
        note = f"\n\nWhat {said.author} made of it so far:\n{said.text}"
        given = Message("user", (*given.parts, TextPart(note)))
    children.request(draft, f"c{number + 1}", member, given)


def function_ended(draft: Draft, _function: str, result: Any) -> None:
    """What a gate's function said."""
    member = talk.team_of(draft).members[draft.state.team.turns - 1]
    is_open = functions.yes_or_no(draft, "@gate", member.name, result, "open")
    if is_open is None:
        return
    _gated(draft, member, talk.entries(draft)[-1], is_open=is_open, reason="")
