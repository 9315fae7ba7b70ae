"""Views of conversations that others had: stable prefixes, own words as one's own, calls as text."""

from perdure.core.history import Entry, conversation_text, entry_of, handoff_view, team_view, text_of
from perdure.core.messages import Message, TextPart, ToolCallPart, ToolResultPart, user
from perdure.core.plan import Member
from tests.unit.core.scenarios import all_plays

MEMBERS = (Member("ann", introduction="I count."), Member("bob"))
TALK = [
    Entry("", user("Talk.")),
    entry_of("ann", "one", None),
    entry_of("bob", {"n": 2}, None),
    entry_of("ann", "three", None),
]


def test_each_sees_its_own_words_as_its_own():
    """The viewer's words are the assistant's, all others' come by name; who is there stands before all."""
    seen = [(m.role, m.text) for m in team_view(TALK, MEMBERS, "ann")]
    assert seen[0] == ("user", "Taking part in this conversation:\n[ann]: I count.\n\nTalk.")
    assert seen[1:] == [("assistant", "one"), ("user", '[bob]: {"n":2}'), ("assistant", "three")]


def test_a_view_begins_with_the_view_that_was_there_before():
    """However a conversation grows, what somebody was shown of it stays the beginning of what it is shown."""
    for viewer in ("ann", "bob", "guest"):
        whole = team_view(TALK, MEMBERS, viewer)
        for upto in range(1, len(TALK) + 1):
            assert team_view(TALK[:upto], MEMBERS, viewer) == whole[:upto]


def test_views_of_every_scenario_are_stable():
    """The same for the conversations and messages of all scenarios."""
    for play in all_plays():
        entries, messages = play.transcript.entries, play.transcript.messages
        for upto in range(len(entries)):
            assert team_view(entries[:upto], (), "ann") == team_view(entries, (), "ann")[:upto]
        whole = handoff_view(messages)
        for upto in range(len(messages)):
            part = handoff_view(messages[:upto])
            assert part == whole[: len(part)]


def test_a_handoff_shows_calls_and_results_as_text():
    """Another agent has other tools: it is told of calls in words, of transfers not at all, and of long values in short."""
    said = [
        user("Hello"),
        Message("assistant", (TextPart("Looking."), ToolCallPart("c", "look", {"at": 1}))),
        Message("tool", (ToolResultPart("c", "look", "x" * 5_000),)),
        Message("assistant", (ToolCallPart("t", "transfer_to_bob", {"note": "n"}),)),
    ]
    seen = handoff_view(said)
    assert [m.role for m in seen] == ["user", "assistant", "user"]
    assert seen[1].text == 'Looking.\n(called look with {"at":1})'
    assert len(seen[2].text) < 2_100
    assert seen[2].text.endswith("...)")


def test_texts():
    """An output is shown as it is when it is a text, else as JSON; a conversation by name."""
    assert text_of("a") == "a"
    assert text_of({"a": None}) == '{"a":null}'
    assert conversation_text(TALK[:2]) == "Talk.\n\n[ann]: one"
