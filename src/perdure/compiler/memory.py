"""What an agent remembers, checked."""

from perdure.agents.checks import MAX_COUNT, check_number
from perdure.core.definition import MemoryDefinition
from perdure.core.errors import DefinitionError

MAX_MESSAGES = 10_000
_ROLES = ("user", "assistant", "system")


def checked_memory(memory: MemoryDefinition | None, where: str) -> MemoryDefinition | None:
    """The memory, with messages that can be shown.

    Raises:
        DefinitionError: E0101 a message; E0106 a limit.
    """
    if memory is None:
        return None
    if len(memory.messages) > MAX_MESSAGES:
        raise DefinitionError("E0106", f"The memory has over {MAX_MESSAGES} messages", where=where)
    for number, message in enumerate(memory.messages):
        if message.get("role") not in _ROLES or not isinstance(message.get("content"), str):
            raise DefinitionError(
                "E0101",
                f"Message {number} of the memory cannot be read",
                where=where,
                fix='Each is {"role": "user", "assistant" or "system", "content": text}.',
            )
    for name in ("max_messages", "max_tokens"):
        if (value := getattr(memory, name)) is not None:
            check_number(name, value, 1, MAX_COUNT, where=where)
    return memory
