"""Events as rows: bodies apart and back, blobs, links of the chain."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.events import AnyEvent, ToolCompleted, ToolRequested, decode, encode
from perdure.engine.journal.payloads import (
    BLOB_OVER_BYTES,
    COMPRESS_OVER_BYTES,
    RAW,
    ZLIB,
    blob_row,
    chain_start,
    join,
    link,
    open_blob,
    split,
)
from tests.contract.journal.samples import every_body_event, turn

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("event", every_body_event("é" * 5_000), ids=lambda e: type(e).__name__)
def test_a_large_body_goes_apart_and_comes_back(event):
    """The head is small, and head and body together are the event."""
    payload = encode(event)
    head, body = split(event, payload)
    if len(payload) <= BLOB_OVER_BYTES:
        assert (head, body) == (payload, None)
        return
    assert body is not None
    assert len(head) < 400
    assert decode(join(head, body)) == event


@given(JSON)
def test_any_json_body_comes_back(value):
    """Whatever a tool gives, the stored event decodes as the whole payload would."""
    event = ToolCompleted(step="t1", epoch=1, result=[value, "x" * BLOB_OVER_BYTES])
    payload = encode(event)
    head, body = split(event, payload)
    assert body is not None
    assert decode(join(head, body)) == decode(payload)


def test_every_kind_with_a_body_is_known():
    """The samples have an event of every kind that names a body, so the tests above are complete."""
    with_body = {kind.__name__ for kind in AnyEvent.__args__ if kind.BODY}
    assert {type(event).__name__ for event in every_body_event("x")} == with_body


def test_small_events_and_events_without_a_body_stay_whole():
    """Nothing is split below the limit, nor when the body is null."""
    small = turn(1, 100)[0]
    assert split(small, encode(small)) == (encode(small), None)
    empty = ToolCompleted(step="t1" * 3_000, epoch=1, result=None)
    assert split(empty, encode(empty)) == (encode(empty), None)
    with_large_head = turn(1, 10)[1]
    large = msgspec.structs.replace(with_large_head, step="m" * 9_000)
    assert split(large, encode(large)) == (encode(large), None)


def test_equal_bodies_have_one_blob():
    """The hash is of the body alone, not of the event around it."""
    one, two = (
        ToolRequested(step=step, call_id=step, tool="t", arguments={"a": "x" * 9_000}, key=step)
        for step in "ab"
    )
    assert split(one, encode(one))[1] == split(two, encode(two))[1]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"x" * COMPRESS_OVER_BYTES, RAW),
        (b"x" * (COMPRESS_OVER_BYTES + 1), ZLIB),
        (b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(4_000)), RAW),
    ],
    ids=["at the limit", "over it", "does not shrink"],
)
def test_blobs_are_compressed_when_it_helps(body, encoding):
    """Over 64 KiB, and only if it is smaller then."""
    digest, size, written, data = blob_row(body)
    assert (digest, size, written) == (hashlib.sha256(body).digest(), len(body), encoding)
    assert len(data) <= len(body)
    assert open_blob(digest, written, data) == body


def test_a_damaged_blob_is_none():
    """A changed byte, a wrong encoding and a cut blob are noticed."""
    digest, _, encoding, data = blob_row(b"ab" * 40_000)
    assert encoding == ZLIB
    assert open_blob(digest, ZLIB, data[:-9]) is None
    assert open_blob(digest, RAW, data) is None
    assert open_blob(digest, ZLIB, b"ab") is None
    assert open_blob(digest, RAW, b"ab" * 40_000 + b"c") is None


@given(st.binary(max_size=20_000), st.none() | st.binary(min_size=32, max_size=32))
def test_a_link_covers_all_columns(head, body_hash):
    """Any other value of any column gives another link, whatever the size of the head."""
    start = chain_start("x1")
    here = link(start, 1, 5, head, body_hash)
    assert here == link(start, 1, 5, head, body_hash)
    others = {
        link(chain_start("x2"), 1, 5, head, body_hash),
        link(start, 2, 5, head, body_hash),
        link(start, 1, 6, head, body_hash),
        link(start, 1, 5, head + b"\0", body_hash),
        link(start, 1, 5, head, b"h" * 32 if body_hash != b"h" * 32 else None),
    }
    assert len(others | {here}) == 6


def test_a_link_does_not_depend_on_how_it_is_computed():
    """Pieces and the whole give one value: the format on disk is BLAKE2b over the columns in order."""
    for size in (0, 1, 2_047, 2_048, 6_000, 8_188, 8_189, 50_000):
        front = chain_start("x1") + (7).to_bytes(8, "big") + (9).to_bytes(8, "big") + b"\0"
        expected = hashlib.blake2b(front + b"h" * size, digest_size=16).digest()
        assert link(chain_start("x1"), 7, 9, b"h" * size, None) == expected
