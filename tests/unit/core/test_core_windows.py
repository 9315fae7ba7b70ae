"""Windows over a conversation, and what is summed up when it is full."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.definition import MemoryDefinition
from perdure.core.messages import (
    MediaPart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    user,
)
from perdure.core.tokens import heuristic_tokens, message_tokens
from perdure.core.windows import Window, WindowLimits, condense_at, condensed, summary_prompt, windowed


def said(text: str) -> Message:
    """A message of the assistant's."""
    return Message("assistant", (TextPart(text),))


def called(n: int) -> tuple[Message, Message]:
    """A call of a tool and its result."""
    return (
        Message("assistant", (ToolCallPart(f"c{n}", "get", {"n": n}),)),
        Message("tool", (ToolResultPart(f"c{n}", "get", "r" * 20),)),
    )


def chat(turns: int) -> list[Message]:
    """Questions and answers in turn."""
    return [m for n in range(turns) for m in (user(f"question {n}"), said(f"answer {n}"))]


def loop(calls: int) -> list[Message]:
    """One question and many calls."""
    return [user("do it"), *(m for n in range(calls) for m in called(n))]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """User messages, answers and calls with results, as an agent's loop makes them."""
    messages: list[Message] = [user("first")]
    for n in range(draw(st.integers(0, 25))):
        match draw(st.sampled_from(["user", "answer", "call", "call"])):
            case "user":
                messages.append(user("u" * draw(st.integers(1, 60))))
            case "answer":
                messages.append(said("a" * draw(st.integers(1, 60))))
            case _:
                messages += called(n)
    return messages


LIMITS = st.builds(
    WindowLimits, st.none() | st.integers(1, 15), st.none() | st.integers(1, 200), st.integers(0, 3)
)


def is_part(shown: Sequence[Message], messages: Sequence[Message]) -> bool:
    """Whether *shown* is some of *messages* in their order."""
    left = iter(messages)
    return all(any(m is item for item in left) for m in shown)


def test_without_limits_all_is_shown():
    """No limit, or one that is not reached, leaves the conversation as it is."""
    messages = chat(50)
    assert windowed(messages, WindowLimits()) == messages
    assert windowed(messages, WindowLimits(100, 10_000)) == messages
    assert windowed([], WindowLimits(1, 1)) == []


def test_a_window_of_messages_drops_to_half():
    """When the limit is passed the window jumps to half of it, and then grows again."""
    messages = chat(20)
    assert windowed(messages[:10], WindowLimits(10)) == messages[:10]
    assert windowed(messages[:11], WindowLimits(10)) == messages[6:11]
    assert windowed(messages[:12], WindowLimits(10)) == messages[6:12]


def test_a_window_of_tokens_drops_to_half():
    """Tokens are counted by the counter that is given."""
    messages = chat(20)
    window = windowed(messages, WindowLimits(max_tokens=100), lambda _text: 6)
    assert sum(message_tokens(m, lambda _text: 6) for m in window) <= 100
    assert window == messages[-len(window) :]
    assert window[0].role == "user"


def test_the_question_stays_through_a_long_loop():
    """A window that begins in a loop of calls has the user's message in front (W3)."""
    messages = loop(30)
    shown = windowed(messages, WindowLimits(10))
    assert shown[0] is messages[0]
    assert shown[1:] == messages[-len(shown) + 1 :]
    assert 5 <= len(shown) <= 10


def test_pinned_messages_stay():
    """The messages of the definition are shown before everything else and count."""
    messages = [user("rule"), said("yes"), *chat(20)]
    shown = windowed(messages, WindowLimits(8, pinned=2))
    assert shown[:2] == messages[:2]
    assert len(shown) <= 8
    assert shown[2:] == messages[-len(shown) + 2 :]
    assert windowed(messages[:2], WindowLimits(1, pinned=2)) == messages[:2]


def test_the_definition_gives_the_limits():
    """A memory's limits and the number of its messages are the window's."""
    memory = MemoryDefinition(({"role": "user", "content": "x"},), 5, 6)
    assert WindowLimits.of(memory) == WindowLimits(5, 6, 1)
    assert WindowLimits.of(None) == WindowLimits()


@given(conversations(), LIMITS)
def test_what_must_be_shown_is_shown(messages: list[Message], limits: WindowLimits):
    """W1 to W4 hold for any conversation and any limits at every message."""
    window = Window(limits)
    for count, message in enumerate(messages, 1):
        window.take(message)
        shown = window.shown(messages)
        assert is_part(shown, messages[:count])
        assert list(shown[: limits.pinned]) == messages[: min(limits.pinned, count)]
        assert any(m is message for m in shown)
        newest = [m for m in messages[:count] if m.role == "user"][-1]
        assert any(m is newest for m in shown)
        calls = {c.call_id for m in shown for c in m.tool_calls}
        # Pinned messages may end in the middle of a call; a window never begins with a result.
        results = [p for m in shown[limits.pinned :] for p in m.parts if isinstance(p, ToolResultPart)]
        assert limits.pinned > 1 or all(p.call_id in calls for p in results)
        if limits.pinned == 0:
            assert shown[0].role == "user"


@given(conversations(), LIMITS)
def test_a_window_grows_or_jumps_forward(messages: list[Message], limits: WindowLimits):
    """A window never goes back, and where it does not move, what was shown is a prefix of what is shown."""
    window = Window(limits)
    start, shown = window.start, []
    for message in messages:
        window.take(message)
        assert window.start >= start
        now = window.shown(messages)
        if window.start == start:
            assert now[: len(shown)] == shown
        start, shown = window.start, now


@given(conversations(), st.integers(4, 15))
def test_the_limit_is_kept_where_it_can_be(messages: list[Message], most: int):
    """With small messages and a limit of four or more, never more than the limit is shown."""
    window = Window(WindowLimits(most))
    for message in messages:
        window.take(message)
        assert len(window.shown(messages)) <= most


@pytest.mark.parametrize("messages", [chat(500), loop(500)], ids=["chat", "loop"])
def test_the_prefix_holds_for_most_turns(messages: list[Message]):
    """Over a long conversation the window jumps about once in half of its limit."""
    for limits in (WindowLimits(40), WindowLimits(max_tokens=400)):
        window = Window(limits)
        broken, shown = 0, []
        for message in messages:
            window.take(message)
            now = window.shown(messages)
            broken += now[: len(shown)] != shown
            shown = now
        assert broken <= len(messages) / 15


def test_a_long_conversation_is_folded_quickly():
    """10,000 messages are taken in within a second, each in the same time."""
    messages = chat(5_000)
    start = time.process_time()
    windowed(messages, WindowLimits(4_000, 50_000))
    assert time.process_time() - start < 1


# Condensing ---------------------------------------------------------------------------------------------


def test_a_conversation_is_condensed_when_it_is_nearly_full():
    """Under 80 % nothing happens; from there on, all but the last 30 % is summed up."""
    messages = chat(30)
    size = sum(message_tokens(m) for m in messages)
    assert condense_at(messages, int(size / 0.79)) is None
    found = condense_at(messages, int(size / 0.81))
    assert found is not None
    assert found.first == 0
    assert found.tokens == size
    assert 0.2 * size < sum(message_tokens(m) for m in messages[found.last :]) <= 0.3 * size / 0.8
    assert found.asked is None
    assert "question 0" in found.prompt
    assert "question 29" not in found.prompt


def test_what_is_beside_the_conversation_counts():
    """Instructions, tools and the room for an answer fill the window too."""
    messages = chat(30)
    assert condense_at(messages, 10_000) is None
    assert condense_at(messages, 10_000, beside=8_000) is not None


def test_the_question_of_a_loop_stays_word_for_word():
    """The newest user message is not summed up, wherever it stands."""
    messages = loop(50)
    found = condense_at(messages, 500)
    assert found is not None
    assert found.asked == 0
    assert "do it" not in found.prompt
    after = condensed(messages, found, "the summary")
    assert after[0].text == "Summary of the conversation so far:\n\nthe summary"
    assert after[1] is messages[0]
    assert after[2:] == messages[found.last :]


def test_nothing_is_condensed_where_nothing_can_be():
    """A conversation of pinned messages, or of one message that is too large, stays as it is."""
    assert condense_at([user("x" * 10_000)], 100) is None
    assert condense_at([user("x" * 10_000), said("y")], 100) is None
    assert condense_at(chat(2), 10, pinned=4) is None
    assert condense_at([], 0) is None


@given(conversations(), st.integers(1, 400), st.integers(0, 3))
def test_a_condensation_loses_nothing_that_must_stay(messages: list[Message], room: int, pinned: int):
    """Pinned messages, the newest message and user message stay; a result keeps its call; there is less than before."""
    found = condense_at(messages, room, pinned=pinned)
    if found is None:
        return
    after = condensed(messages, found, "s")
    assert after[:pinned] == messages[:pinned]
    assert after[-1] is messages[-1]
    newest = [m for m in messages if m.role == "user"][-1]
    assert any(m is newest for m in after)
    assert len(after) <= len(messages)
    assert after[pinned].role == "user"
    assert messages[found.last].role != "tool"


def test_the_prompt_of_a_summary_fits():
    """The longest messages are cut in their middle, short ones stay whole."""
    messages = [
        user("short one"),
        said("b" * 50_000),
        Message("tool", (ToolResultPart("c", "get", {"a": "c" * 90_000}),)),
    ]
    prompt = summary_prompt(messages, 3_000)
    assert len(prompt) < 9_500
    assert "[user] short one" in prompt
    assert "characters left out" in prompt
    assert heuristic_tokens(prompt) < 3_000
    assert "left out" not in summary_prompt(messages, 100_000)


def test_the_prompt_tells_every_kind_of_part():
    """Calls, results, failures, thoughts and media are written down."""
    prompt = summary_prompt(
        [
            Message("user", (TextPart("look"), MediaPart("image/png", data="AAAA"))),
            Message("assistant", (ReasoningPart("hmm"), ToolCallPart("c", "get", {"n": 1}), ToolCallPart("d", "put", None, "{bad"))),
            Message("tool", (ToolResultPart("c", "get", [1]), ToolResultPart("d", "put", "no", True))),
        ],
        10_000,
    )  # fmt: skip
    for text in ("[user] look\n(image/png)", "(thought: hmm)", '(calls get with {"n":1})', "(calls put with {bad)", "(get gave: [1])", "(put failed: no)"):  # fmt: skip
        assert text in prompt
    assert prompt.endswith("</conversation>")
