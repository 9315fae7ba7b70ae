"""Server-sent events: bytes in any pieces, the same events out."""

import random

from perdure.client.sse import EventDecoder, ServerEvent

STREAM = (
    b'retry: 1000\n\n: comment\n\nid: 1\nevent: started\ndata: {"a":1}\n\n'
    b"event: delta\r\ndata: {}\r\n\r\ndata: one\ndata: two\n\nid: 2\nevent: long\ndata: "
    + b"x" * 5000
    + b"\n\n"
)
EVENTS = [
    ServerEvent("1", "started", b'{"a":1}'),
    ServerEvent("", "delta", b"{}"),
    ServerEvent("", "message", b"one\ntwo"),
    ServerEvent("2", "long", b"x" * 5000),
]


def test_events_do_not_depend_on_where_the_bytes_are_cut():
    """Whatever the pieces, LF or CRLF, comments or not, the events are the same; an id is good for its own event."""
    for seed in range(50):
        cuts = random.Random(seed)
        decoder, found, rest = EventDecoder(), [], STREAM
        while rest:
            size = cuts.choice([1, 2, 3, 50, 4000])
            found += decoder.feed(rest[:size])
            rest = rest[size:]
        assert found == EVENTS, f"seed {seed}"


def test_an_unfinished_event_is_not_given():
    """An event counts when its empty line has come."""
    decoder = EventDecoder()
    assert decoder.feed(b"id: 3\ndata: {}\n") == []
    assert decoder.feed(b"\n") == [ServerEvent("3", "message", b"{}")]
