"""Conditions that are data: when a loop ends, when a stage is the last, who takes over.

What can be decided from data is decided in the core, in the transaction that records what it was decided from: no
worker is asked, and no worker that is away can hold it up. A condition that needs a function names it (`@...`).
"""

from typing import Any

import msgspec

from perdure.core.model import Usage


class TextMention(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="text_mention"
):
    """The text is in what was said last."""

    text: str
    case_sensitive: bool = False


class StopMessage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="stop_message"
):
    """What was said last is exactly this, spaces around it aside."""

    text: str = "TERMINATE"


class MaxMessages(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="max_messages"
):
    """So many messages were said by agents."""

    count: int


class TokenUsage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="token_usage"
):
    """So many tokens were used; one of the three is set."""

    total: int | None = None
    prompt: int | None = None
    completion: int | None = None


class AllOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="and"):
    """All of them are met."""

    conditions: tuple["Condition", ...]


class AnyOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="or"):
    """One of them is met."""

    conditions: tuple["Condition", ...]


Condition = TextMention | StopMessage | MaxMessages | TokenUsage | AllOf | AnyOf


class TextGate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="text"):
    """Closed, so that the pipeline ends here, when the stage's output has the text."""

    text: str
    case_sensitive: bool = True


class FunctionGate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="function"):
    """The function `@gate` of the stage's agent says whether to go on."""


Gate = TextGate | FunctionGate


class OnToolResult(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="tool_result"
):
    """The agent that spoke called this tool, with a result that has the text, if one is given."""

    target: str
    tool: str
    contains: str | None = None


class OnTextMention(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="text_mention"
):
    """What was said last has the text, in any case."""

    target: str
    text: str


class OnFunction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="function"):
    """The function `@handoff.TARGET` says so."""

    target: str


Handoff = OnToolResult | OnTextMention | OnFunction


class Said(msgspec.Struct, frozen=True):
    """What a condition may look at.

    Attributes:
        text: what was said last.
        messages: how many messages agents have said.
        usage: tokens used so far.
    """

    text: str
    messages: int
    usage: Usage


def met(condition: Condition, said: Said) -> str:
    """Why the condition is met, in words; empty: it is not."""
    match condition:
        case TextMention(text, case_sensitive):
            return (
                f"the text {text!r} was mentioned"
                if contains(said.text, text, case_sensitive=case_sensitive)
                else ""
            )
        case StopMessage(text):
            return f"the message was {text!r}" if said.text.strip() == text.strip() else ""
        case MaxMessages(count):
            return f"{said.messages} messages were said" if said.messages >= count else ""
        case TokenUsage():
            return _tokens(condition, said.usage)
        case AnyOf(conditions):
            return next((why for c in conditions if (why := met(c, said))), "")
        case AllOf(conditions):
            reasons = [met(c, said) for c in conditions]
            return " and ".join(reasons) if reasons and all(reasons) else ""


def _tokens(limit: TokenUsage, usage: Usage) -> str:
    for what, most, used in (
        ("tokens", limit.total, usage.total_tokens),
        ("prompt tokens", limit.prompt, usage.input_tokens),
        ("completion tokens", limit.completion, usage.output_tokens),
    ):
        if most is not None and used >= most:
            return f"{used} {what} were used"
    return ""


def contains(text: str, part: str, *, case_sensitive: bool) -> bool:
    """Whether *part* is in *text*."""
    return part in text if case_sensitive else part.casefold() in text.casefold()


def is_open(gate: TextGate, output: Any) -> bool:
    """Whether the pipeline goes on after a stage with this output."""
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    return not contains(text, gate.text, case_sensitive=gate.case_sensitive)
