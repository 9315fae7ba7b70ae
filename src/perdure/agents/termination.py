"""When a loop ends: conditions that are data, decided in the server with no worker asked.

They are put together with `&` and `|`:

    Agent(..., termination=TextMentionTermination("DONE") | MaxMessageTermination(20))
"""

from typing import Any

from perdure.agents.checks import MAX_COUNT, check_number, invalid_option
from perdure.agents.values import check_text
from perdure.core.conditions import (
    AllOf,
    AnyOf,
    Condition,
    MaxMessages,
    StopMessage,
    TextMention,
    TokenUsage,
)


class TerminationCondition:
    """What all of them are: a condition as data, in `condition`. Make one of the kinds below."""

    condition: Condition

    def __and__(self, other: object) -> "TerminationCondition":
        """Met when both are."""
        if not isinstance(other, TerminationCondition):
            return NotImplemented
        parts = [p for c in (self, other) for p in _parts(c.condition, AllOf)]
        return _Combined(AllOf(tuple(parts)))

    def __or__(self, other: object) -> "TerminationCondition":
        """Met when one of them is."""
        if not isinstance(other, TerminationCondition):
            return NotImplemented
        parts = [p for c in (self, other) for p in _parts(c.condition, AnyOf)]
        return _Combined(AnyOf(tuple(parts)))

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}({self.condition})"


class _Combined(TerminationCondition):
    def __init__(self, condition: Condition) -> None:
        self.condition = condition


def _parts(condition: Condition, kind: type[AllOf] | type[AnyOf]) -> tuple[Condition, ...]:
    """Those of a condition of this kind, so that `a & b & c` is one list; otherwise the condition itself."""
    return condition.conditions if isinstance(condition, kind) else (condition,)


class TextMentionTermination(TerminationCondition):
    """Ends when the text is in what was said last.

    Raises:
        DefinitionError: E0106.
    """

    def __init__(self, text: str, *, case_sensitive: bool = False) -> None:
        self.condition = TextMention(some_text("text", text, _WHERE), case_sensitive)


class StopMessageTermination(TerminationCondition):
    """Ends when what was said last is exactly this, spaces around it aside.

    Raises:
        DefinitionError: E0106.
    """

    def __init__(self, stop_message: str = "TERMINATE") -> None:
        self.condition = StopMessage(some_text("stop_message", stop_message, _WHERE))


class MaxMessageTermination(TerminationCondition):
    """Ends when agents have said so many messages.

    Raises:
        DefinitionError: E0106.
    """

    def __init__(self, max_messages: int) -> None:
        check_number("max_messages", max_messages, 1, MAX_COUNT, where=_WHERE)
        self.condition = MaxMessages(max_messages)


class TokenUsageTermination(TerminationCondition):
    """Ends when so many tokens were used; the first limit that is reached counts.

    Args:
        max_total_tokens: of prompts and answers together.
        max_prompt_tokens: of prompts.
        max_completion_tokens: of answers.

    Raises:
        DefinitionError: E0106 no limit, or one out of range.
    """

    def __init__(
        self,
        max_total_tokens: int | None = None,
        max_prompt_tokens: int | None = None,
        max_completion_tokens: int | None = None,
    ) -> None:
        limits = {
            "max_total_tokens": max_total_tokens,
            "max_prompt_tokens": max_prompt_tokens,
            "max_completion_tokens": max_completion_tokens,
        }
        for name, value in limits.items():
            if value is not None:
                check_number(name, value, 1, MAX_COUNT, where=_WHERE)
        if all(value is None for value in limits.values()):
            raise invalid_option("max_total_tokens", None, "at least one of the three limits", _WHERE)
        self.condition = TokenUsage(max_total_tokens, max_prompt_tokens, max_completion_tokens)


_WHERE = "termination"


def some_text(name: str, value: Any, where: str) -> str:
    """The value, when it is a text with something in it.

    Raises:
        DefinitionError: E0106.
        ApiError: E0611 it has lone surrogates.
    """
    if not isinstance(value, str) or not value.strip():
        raise invalid_option(name, value, "a text that is not empty", where)
    check_text(value, f"{where}, {name}")
    return value
