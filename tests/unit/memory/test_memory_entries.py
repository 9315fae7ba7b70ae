"""Ids, namespaces and checks of what may be stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.errors import SemanticMemoryError
from perdure.memory.entries import (
    MAX_TTL_S,
    checked_expiry,
    checked_metadata,
    digest_of,
    entry_id,
    namespace_of,
)

NAME = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)


@given(st.tuples(NAME, NAME), st.tuples(NAME, NAME))
def test_different_pairs_are_different_namespaces(one: tuple[str, str], other: tuple[str, str]):
    """No agent and user share a namespace with another agent and user, whatever characters they have."""
    assert (namespace_of(*one) == namespace_of(*other)) == (one == other)


def test_an_id_is_made_from_what_makes_the_entry_the_same():
    """Scope, key and text each make another id; a key that looks like a text's digest does not."""
    digest = digest_of("text")
    made = {
        entry_id("a", digest, None),
        entry_id("b", digest, None),
        entry_id("a", digest_of("other"), None),
        entry_id("a", digest, "key"),
        entry_id("a", digest, digest),
        entry_id("a", digest, ""),
    }
    assert len(made) == 6
    assert entry_id("a", digest, "key") == entry_id("a", digest_of("other"), "key")
    assert all(len(i) == 32 for i in made)


def test_the_digest_evens_white_space_and_unicode_forms_only():
    """Line ends, double spaces and composed letters are the same text; letters and case are not."""
    assert digest_of(" a  b\n") == digest_of("a b")
    assert digest_of("e\u0301") == digest_of("\u00e9")
    assert len({digest_of(t) for t in ("a b", "ab", "A b", "a b.")}) == 4


def test_metadata_comes_back_as_it_was_or_is_refused():
    """Tuples become lists; what JSON would change silently is E0802."""
    assert checked_metadata({"t": (1, ("x",)), "n": None}) == {"t": [1, ["x"]], "n": None}
    assert checked_metadata(None) == {}
    for wrong in ({"n": float("nan")}, {"d": {1: 2}}, {"b": b"x"}, {"s": {1, 2}}):
        with pytest.raises(SemanticMemoryError) as caught:
            checked_metadata(wrong)
        assert caught.value.code == "E0802"


@pytest.mark.parametrize(
    ("ttl_s", "expected"), [(None, None), (1, 1_000), (0.5, 500), (1e-9, 1), (MAX_TTL_S, MAX_TTL_S * 1000)]
)
def test_a_time_to_live_is_at_least_a_millisecond(ttl_s: float | None, expected: int | None):
    """The time of expiry is the time now and the time to live, never now itself."""
    assert checked_expiry(ttl_s, 0) == expected
    for wrong in (0, -1, True, float("nan"), MAX_TTL_S + 1):
        with pytest.raises(SemanticMemoryError):
            checked_expiry(wrong, 0)
