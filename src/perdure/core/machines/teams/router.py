"""The router machine: an agent or a function picks who answers.

The router says who, and whether that answer is the last (`final`); if it is not, it is asked again with all that was
said, and may say DONE. A name that nobody has is told to nobody in silence: a router agent is held to the names by its
output schema, and a function that gives another one fails the execution (E8).
"""

from typing import Any

from perdure.core import events as ev
from perdure.core.machines import children, functions
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk
from perdure.core.messages import Message, TextPart

DONE = "DONE"


def advance(draft: Draft) -> None:
    """Ask the router, hear it, or begin the agent that it picked."""
    if draft.state.team.phase == "choosing":
        event = draft.event_of(ev.ChildCompleted)
        if event is not None:
            asked = draft.child(event.step)
            _routed(draft, event.output, asked.agent if asked is not None else "")
    elif draft.state.team.phase == "ready":
        _ask(draft)


def _ask(draft: Draft) -> None:
    team, state = talk.team_of(draft), draft.state.team
    said = talk.entries(draft)
    if state.last:
        talk.sum_up_or_finish(draft, _output(draft), "stop")
        return
    if state.turns >= draft.scope.plan.max_turns:
        talk.finish(draft, said[-1].output, "max_turns", f"{draft.scope.plan.max_turns} turns were taken")
        return
    if team.router is not None:
        listed = "\n".join(
            f"- {m.name}: {m.description or m.introduction or 'no description'}" for m in team.members
        )
        note = f"\n\nAgents to choose from:\n{listed}"
        if state.turns:
            note = f"\n\nWhat was said so far:\n{talk.whole_text(draft)}{note}"
        given = Message("user", (*said[0].message.parts, TextPart(note)))
        children.request(draft, f"r{state.turns + 1}", team.router, given, role="router")
    else:
        functions.request(
            draft,
            f"r{state.turns + 1}",
            "@router",
            {"prompt": said[0].text, "conversation": talk.whole_text(draft), "turn": state.turns + 1},
        )


def _output(draft: Draft) -> Any:
    return talk.entries(draft)[-1].output


def function_ended(draft: Draft, _function: str, result: Any) -> None:
    """What the router's function said."""
    _routed(draft, result, draft.scope.plan.agent)


def _routed(draft: Draft, said: Any, who: str) -> None:
    name = functions.answer(said, "agent", str)
    final = functions.answer(said, "final", bool)
    member = talk.team_of(draft).member(name) if name else None
    if name == DONE and draft.state.team.turns:
        draft.record(ev.AgentChosen("", "router", "DONE"))
        talk.sum_up_or_finish(draft, _output(draft), "done")
    elif member is None:
        names = ", ".join(m.name for m in talk.team_of(draft).members)
        functions.fail(draft, "@router", who, f"It gave {said!r:.200}; the agents are {names}.")
    else:
        draft.record(ev.AgentChosen(member.name, "router", last=final is not False))
        talk.speak(draft, member)
