"""The turn machine's part about long conversations: when they fill the context window, the old part is summed up.

The agent's own model writes the summary, as a step of its own whose answer is recorded like any other; from then on
the summary stands in the place of what it sums up. No call is ever cut from its result.
"""

from perdure.core import events as ev
from perdure.core.effects import CallModel
from perdure.core.history import text_of
from perdure.core.machines.draft import Draft
from perdure.core.messages import Message, TextPart
from perdure.core.requests import remembered
from perdure.core.tokens import json_text, message_tokens
from perdure.core.windows import condense_at


def _coming(draft: Draft) -> list[Message]:
    """What the turn puts behind the conversation: what the transcript has of it, and what this input has brought."""
    found = draft.scope.transcript.coming()
    for event in draft.events:
        if isinstance(event, ev.ToolCompleted):
            found.append(Message("tool", (TextPart(text_of(event.result)),)))
        elif isinstance(event, ev.ChildCompleted):
            found.append(Message("tool", (TextPart(text_of(event.output)),)))
        elif isinstance(event, ev.ModelCompleted | ev.MessageReceived):
            found.append(event.message)
    return found


def condenses(draft: Draft, turn: int) -> bool:
    """Ask for a summary before *turn*, if the conversation is too long for it; True: it was asked for."""
    plan, state = draft.scope.plan, draft.state
    if plan.context_window is None or state.condensed >= turn:
        return False
    if not state.turn and not draft.scope.transcript.before:
        return False  # nothing was said yet
    tokens = draft.scope.tokens
    beside = tokens(plan.instructions) + sum(
        tokens(json_text(t.spec.input_schema)) for t in plan.tools.values()
    )
    beside += sum(message_tokens(message, tokens) for message in _coming(draft))
    found = condense_at(
        draft.scope.transcript.messages,
        plan.context_window,
        tokens,
        beside=beside + (plan.settings.max_tokens or 0),
        pinned=len(remembered(plan)),
    )
    if found is None:
        return False
    step = f"t{turn}.z"
    event = ev.CondenseRequested(step, turn, found.first, found.last, found.tokens, found.asked)
    draft.record(event, CallModel(step, 1))
    return True
