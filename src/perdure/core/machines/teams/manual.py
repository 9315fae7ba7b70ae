"""The manual machine: a person picks who speaks next, or says that it is done.

The pick is an approval of the kind pick: its answer names an agent, or is DONE; a rejection is DONE as well, and its
reason is kept. It waits for ever at no cost, like every approval.
"""

from typing import Any

from perdure.core import events as ev
from perdure.core.machines import questions
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import talk

DONE = "DONE"
TOOL = "pick_agent"


def advance(draft: Draft) -> None:
    """See whether the conversation ends; else ask who speaks."""
    if draft.state.team.phase == "chosen":
        return
    if not talk.conversation_ends(draft):
        _go_on(draft)


def _go_on(draft: Draft) -> None:
    names = [m.name for m in talk.candidates(draft)]
    turns = draft.state.team.turns
    if not names:
        talk.nobody_follows(draft)
        return
    question = {"question": "Who is to speak next?", "agents": names, "last": talk.entries(draft)[-1].text}
    schema = {
        "type": "object",
        "properties": {"agent": {"enum": [*names, DONE] if turns else names}},
        "required": ["agent"],
        "additionalProperties": False,
    }
    questions.ask(draft, f"p{turns + 1}", "pick", TOOL, question, schema)


def answered(draft: Draft, decided: ev.ApprovalDecided) -> None:
    """What the person said."""
    name = decided.answer["agent"] if decided.decision == "approved" else DONE
    member = talk.team_of(draft).member(name)
    if member is None:
        reason = decided.reason or f"{decided.by} said so"
        said = talk.entries(draft)[-1]
        talk.sum_up_or_finish(draft, said.output if said.author else "", "done", reason)
        return
    draft.record(ev.AgentChosen(member.name, "person", decided.by))
    talk.speak(draft, member)


def function_ended(draft: Draft, _function: str, result: Any) -> None:
    """What the stop condition said."""
    talk.stop_decided(draft, result, _go_on)
