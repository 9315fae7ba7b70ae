"""What an execution is shown of a conversation that others had: the view from where its agent stands.

A child or a later execution of a session holds a reference to that conversation (`HistoryRef`), never a copy, so that a
thousand turns take a thousand times the place of one (linear storage). The view of a conversation that has grown
begins with the view that was there before, so that a provider's cache of the prefix stays good.
"""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.core.event_base import Handover
from perdure.core.messages import Message, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.plan import Member

_RESULT_LENGTH = 2_000


class Entry(msgspec.Struct, frozen=True, dict=True):
    """What one agent of a team said; `author` is empty for the input that the team was given.

    `output` is the agent's output as it was: a text, or another JSON value; `handover` whom it handed over to.
    """

    author: str
    message: Message
    output: Any = None
    handover: Handover | None = None

    @property
    def text(self) -> str:
        """The text of it."""
        return self.message.text

    @functools.cached_property
    def retold(self) -> Message:
        """It as all others see it. Kept, as every turn that follows shows all that was said before it."""
        return user(f"[{self.author}]: {self.text}")


def team_view(entries: Sequence[Entry], members: Sequence[Member], viewer: str) -> list[Message]:
    """A team's conversation as *viewer* sees it: its own words as the assistant's, all others by name as a user's."""
    seen = [_as_seen(entry, viewer) for entry in entries]
    if seen:
        seen[0] = _introduced(seen[0], members)
    return seen


def last_in_view(entries: Sequence[Entry], members: Sequence[Member], viewer: str) -> Message:
    """The last message of the view."""
    last = _as_seen(entries[-1], viewer)
    return last if len(entries) > 1 else _introduced(last, members)


def _introduced(first: Message, members: Sequence[Member]) -> Message:
    told = introductions(members)
    return Message(first.role, (TextPart(told + "\n\n"), *first.parts)) if told else first


def _as_seen(entry: Entry, viewer: str) -> Message:
    if not entry.author:
        return entry.message
    if entry.author == viewer:
        return Message("assistant", entry.message.parts)
    return entry.retold


def introductions(members: Sequence[Member]) -> str:
    """Who is there, in the words of those who said something of themselves."""
    told = [f"[{m.name}]: {m.introduction}" for m in members if m.introduction]
    return "\n".join(["Taking part in this conversation:", *told]) if told else ""


def session_view(messages: Sequence[Message]) -> list[Message]:
    """A conversation for the next execution of its session: as it was, without calls that nobody has answered."""
    seen = list(messages)
    while seen and seen[-1].tool_calls:
        seen.pop()
    return seen


def handoff_view(messages: Sequence[Message]) -> list[Message]:
    """A conversation for an agent that has other tools: calls and results become text."""
    seen = []
    for message in messages:
        text = "\n".join(filter(None, (_part_text(part) for part in message.parts)))
        if text:
            seen.append(Message("assistant" if message.role == "assistant" else "user", (TextPart(text),)))
    return seen


def _part_text(part: object) -> str:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ToolCallPart):
        if part.tool.startswith("transfer_to_"):
            return ""
        return f"(called {part.tool} with {shortened(part.arguments)})"
    if isinstance(part, ToolResultPart):
        return f"({part.tool} gave {shortened(part.result)})"
    return ""


def shortened(value: object) -> str:
    """A JSON value as text, cut off where it is very long."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _RESULT_LENGTH else text[:_RESULT_LENGTH] + "..."


def entry_of(agent: str, output: Any, handover: Handover | None) -> Entry:
    """What a child said, with whom it handed over to."""
    text = text_of(output)
    if handover is not None:
        note = f": {handover.note}" if handover.note else ""
        text = f"{text}\n(hands over to {handover.agent}{note})".strip()
    return Entry(agent, Message("assistant", (TextPart(text),)), output, handover)


def conversation_text(entries: Sequence[Entry]) -> str:
    """A team's conversation as one text: for functions and for the sum of it all."""
    return "\n\n".join(f"[{e.author}]: {e.text}" if e.author else e.text for e in entries)


def text_of(output: object) -> str:
    """An agent's output as text."""
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()
