"""Callbacks: functions of yours that are asked at six places of an execution, and may change what goes on.

    class Redact(CallbackHandler):
        def on_tool_end(self, tool, result, **_):
            return {"result": redact(result)} if tool == "lookup" else None

    Agent(..., callbacks=[Redact(), Log()])

They run on a worker, each call is recorded, and what a call returned is never asked for twice. An exception fails
the execution: a redaction that is skipped in silence would be worse. Methods may be coroutine functions, may leave
out arguments that they do not need, and may take a `ToolContext` by annotation.
"""

from collections.abc import Sequence
from typing import Any

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


class CallbackHandler:
    """Override what you need; what is not overridden costs nothing, not even a task.

    A method returns None to change nothing, or a dict with the one key that it may change. With several handlers
    each sees what the one before made of it.
    """

    def on_agent_start(self, *, input: str, **more: Any) -> dict[str, Any] | None:  # noqa: A002 - the key's own name
        """Before the first turn. *input*: what the agent was asked. May return `{"input": str}`."""

    def on_agent_end(self, *, output: Any, **more: Any) -> dict[str, Any] | None:
        """After the last turn. *output*: the answer, text or JSON; *input*. May return `{"output": ...}`."""

    def on_model_start(self, *, turn: int, instructions: str, **more: Any) -> dict[str, Any] | None:
        """Before each model call.

        *turn* counts from 1; *messages* is the conversation; *instructions* is what handlers before this one added, ""
        at first. May return `{"instructions": str}`: text that stands after the agent's own, for this call alone.
        """

    def on_model_end(self, *, turn: int, text: str, **more: Any) -> dict[str, Any] | None:
        """After each model call.

        *text* is what the model said, *tool_calls* what it asked for: `[{"id", "name", "arguments"}]`. May return
        `{"text": str}`, in place of an answer's text.
        """

    def on_tool_start(self, *, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any] | None:
        """Before each tool call. *tool*: its name; *call_id*. May return `{"arguments": {...}}`."""

    def on_tool_end(
        self, *, tool: str, arguments: dict[str, Any], result: Any, **more: Any
    ) -> dict[str, Any] | None:
        """After each tool call that succeeded. *call_id* too. May return `{"result": ...}`."""


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
