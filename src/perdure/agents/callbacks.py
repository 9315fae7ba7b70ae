"""Callbacks: functions of yours that are asked at six places of an execution, and may change what goes on.

    class Redact(CallbackHandler):
        def on_tool_end(self, tool, result, **_):
            return {"result": redact(result)} if tool == "lookup" else None

    Agent(..., callbacks=[Redact(), Log()])

They run on a worker, each call is recorded, and what a call returned is never asked for twice. An exception fails
the execution: a redaction that is skipped in silence would be worse. Methods may be coroutine functions, may leave
out arguments that they do not need, and may take a `ToolContext` by annotation.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, TypeAlias

from perdure.agents.checks import invalid_option
from perdure.core.definition import HOOKS, HookName
from perdure.core.errors import DefinitionError

# hook -> (method, what a returned dict may change, and of which type; None: any JSON)
METHODS: dict[HookName, tuple[str, str, type | None]] = {
    "before_agent": ("on_agent_start", "input", str),
    "after_agent": ("on_agent_end", "output", None),
    "before_model": ("on_model_start", "instructions", str),
    "after_model": ("on_model_end", "text", str),
    "before_tool": ("on_tool_start", "arguments", dict),
    "after_tool": ("on_tool_end", "result", None),
}


Changes: TypeAlias = dict[str, Any] | Awaitable[dict[str, Any] | None] | None


class CallbackHandler:
    """Override what you need; what is not overridden costs nothing, not even a task.

    All values come by keyword. A method returns None to change nothing, or a dict with the one key that it may
    change. With several handlers each sees what the one before made of it. (The parameters below are as loose as they
    are so that type checkers take a method with exactly the parameters that you need.)
    """

    def on_agent_start(self, *args: Any, **values: Any) -> Changes:
        """Before the first turn. Values: `input`, what the agent was asked. May return `{"input": str}`."""

    def on_agent_end(self, *args: Any, **values: Any) -> Changes:
        """After the last turn. Values: `output`, the answer (text or JSON); `input`. May return `{"output": ...}`."""

    def on_model_start(self, *args: Any, **values: Any) -> Changes:
        """Before each model call.

        Values: `turn`, from 1; `messages`, the conversation; `instructions`, what handlers before this one made, "" at
        first. May return `{"instructions": str}`: text that stands after the agent's own, for this call alone.
        """

    def on_model_end(self, *args: Any, **values: Any) -> Changes:
        """After each model call.

        Values: `turn`; `text`, what the model said; `tool_calls`, what it asked for: `[{"tool", "call_id", "arguments"}]`.
        May return `{"text": str}`, in place of an answer's text.
        """

    def on_tool_start(self, *args: Any, **values: Any) -> Changes:
        """Before each tool call. Values: `tool`, its name; `call_id`; `arguments`. May return `{"arguments": {...}}`."""

    def on_tool_end(self, *args: Any, **values: Any) -> Changes:
        """After each tool call that succeeded. Values: `tool`, `call_id`, `arguments`, `result`. May return `{"result": ...}`."""


def checked_callbacks(given: Any, where: str) -> tuple[CallbackHandler, ...]:
    """The handlers of an agent.

    Raises:
        DefinitionError: E0101 something is not a handler.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option("callbacks", given, "a list of CallbackHandlers", where)
    for item in given:
        if not isinstance(item, CallbackHandler):
            raise DefinitionError(
                "E0101",
                f"{item!r:.80} is not a CallbackHandler",
                where=where,
                fix="Write a class with CallbackHandler as its base, and give an object of it: callbacks=[Mine()].",
            )
    return tuple(given)


def hooks_of(handlers: Sequence[CallbackHandler]) -> tuple[HookName, ...]:
    """Those for which a handler has a method of its own."""
    return tuple(hook for hook in HOOKS if any(overrides(handler, hook) for handler in handlers))


def overrides(handler: CallbackHandler, hook: HookName) -> bool:
    """Whether the handler has a method of its own for the hook."""
    name = METHODS[hook][0]
    method = getattr(handler, name)
    return getattr(method, "__func__", method) is not getattr(CallbackHandler, name)
