"""What an agent remembers of a conversation: messages that it begins with, and how much of it a model is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.agents.checks import MAX_COUNT, check_choice, check_number, invalid_option
from perdure.agents.values import check_text, to_json_value
from perdure.core.definition import MemoryDefinition
from perdure.core.ids import canonical_json

ROLES = ("user", "assistant", "system")
_WHERE = "conversation memory"


class ConversationMemory:
    """Messages before the first one, and a window on the conversation.

    Args:
        messages: `{"role": "user" | "assistant" | "system", "content": text}`, oldest first.
        max_messages: how many messages a model is shown at most; the oldest are left out first, those of the role
            system never. None: all.
        max_tokens: how many tokens of them; counted by the server. None: no limit.

    Raises:
        DefinitionError: E0106 a message or a number.
    """

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]] | None = None,
        max_messages: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        for name, value in (("max_messages", max_messages), ("max_tokens", max_tokens)):
            if value is not None:
                check_number(name, value, 1, MAX_COUNT, where=_WHERE)
        self.max_messages = max_messages
        self.max_tokens = max_tokens
        self.messages: list[dict[str, Any]] = []
        if isinstance(messages, str | Mapping):
            raise invalid_option("messages", messages, "a list of messages", _WHERE)
        for message in messages or ():
            if not isinstance(message, Mapping):
                raise invalid_option("messages", message, '{"role": ..., "content": ...}', _WHERE)
            self._add(message.get("role"), message.get("content", message.get("message")))

    def add_user_message(self, content: str) -> None:
        """Append what a user said."""
        self._add("user", content)

    def add_assistant_message(self, content: str) -> None:
        """Append what the agent said."""
        self._add("assistant", content)

    def add_system_message(self, content: str) -> None:
        """Append an instruction, which no window leaves out."""
        self._add("system", content)

    # A call and its result go to the model as text: providers refuse one without the other, and a window may part them.
    def add_tool_call(self, tool_name: str, arguments: Mapping[str, Any]) -> None:
        """Append that the agent called a tool, as a text of the agent's."""
        self._add("assistant", f"I called the tool {tool_name} with {_json(dict(arguments), 'arguments')}.")

    def add_tool_result(self, tool_name: str, result: Any) -> None:
        """Append what a tool answered, as a text of the agent's."""
        text = result if isinstance(result, str) else _json(result, "result")
        self._add("assistant", f"The tool {tool_name} answered: {text}")

    def to_chat_messages(self) -> list[dict[str, Any]]:
        """The messages that the window of `max_messages` shows, oldest first."""
        if self.max_messages is None or len(self.messages) <= self.max_messages:
            return [dict(m) for m in self.messages]
        kept = sum(m["role"] == "system" for m in self.messages)
        others = [i for i, m in enumerate(self.messages) if m["role"] != "system"]
        shown = set(others[len(others) - max(0, self.max_messages - kept) :])
        return [dict(m) for i, m in enumerate(self.messages) if m["role"] == "system" or i in shown]

    def clear(self) -> None:
        """Forget all messages; the limits stay."""
        self.messages.clear()

    def definition(self) -> MemoryDefinition:
        """The memory as data, as it is now."""
        return MemoryDefinition(tuple(self.to_chat_messages()), self.max_messages, self.max_tokens)

    def __repr__(self) -> str:
        return f"ConversationMemory({len(self.messages)} messages)"

    def _add(self, role: Any, content: Any) -> None:
        check_choice("role", role, ROLES, _WHERE)
        if not isinstance(content, str):
            raise invalid_option("content", content, "a text", _WHERE)
        check_text(content, _WHERE)
        self.messages.append({"role": role, "content": content})


def _json(value: Any, root: str) -> str:
    return canonical_json(to_json_value(value, _WHERE, root=root)).decode()
