"""The turn machine's part about calls that are made before the model is first asked.

They are recorded as if the model had asked for them in a first answer, and are calls like any other: they may be
refused, need a person's leave, be tried again; their results stand before the first turn.
"""

from perdure.core import events as ev
from perdure.core.machines import tool_calls
from perdure.core.machines.draft import Draft
from perdure.core.messages import Message, ToolCallPart

CALL_ID = "prefill-"


def begins(draft: Draft) -> bool:
    """Make the calls of the definition, if there are any and this is the time for them; True: they were made."""
    calls, state = draft.scope.plan.prefill, draft.state
    if not calls or state.prefilled or state.turn:
        return False
    parts = tuple(ToolCallPart(f"{CALL_ID}{n}", call.tool, call.arguments) for n, call in enumerate(calls))
    message = Message("assistant", parts)
    draft.record(ev.CallsPrefilled(message))
    tool_calls.accept_all(draft, message)
    return True
