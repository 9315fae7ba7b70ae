"""Filters and tokens: what is equal, what passes, what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.errors import SemanticMemoryError
from perdure.memory.filters import EVERYTHING, MemoryFilter, as_filter, token, tokens
from tests.contract.memory.oracle import passes
from tests.contract.memory.samples import NOW_MS, entry

SCALAR = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, -0.0]) | st.text(max_size=2)
)
KEY = st.text("ab", max_size=2)
METADATA = st.dictionaries(KEY, SCALAR | st.lists(SCALAR, max_size=3) | st.just({"a": 1}), max_size=4)
CONDITIONS = st.dictionaries(KEY, SCALAR | st.lists(SCALAR, max_size=3), max_size=3)
TIME = st.none() | st.integers(-2, 2).map(lambda n: NOW_MS + n)


@given(METADATA, CONDITIONS, CONDITIONS, TIME, TIME)
def test_tokens_decide_as_plain_equality_does(
    metadata: Any, where: Any, unless: Any, least: Any, before: Any
):
    """An entry passes by its tokens exactly if it passes by comparing JSON values one by one."""
    meant = MemoryFilter(where=where, unless=unless, created_from_ms=least, created_before_ms=before)
    expected = passes(entry("x", metadata=metadata), meant)
    assert meant.matcher()(set(tokens(metadata)), NOW_MS) == expected


def test_numbers_are_one_kind_and_truth_another():
    """1 and 1.0 have one token; True, "1" and None have others; the key is part of it."""
    assert token("k", 1) == token("k", 1.0)
    assert token("k", 0) == token("k", -0.0)
    assert len({token("k", value) for value in (1, True, "1", None, "true", 0, False)}) == 7
    assert token("a", "b") != token("b", "a")


def test_a_mapping_is_a_filter_of_what_must_be_there():
    """None is everything, a mapping is `where`, a filter is itself."""
    assert as_filter(None) is EVERYTHING
    assert as_filter({"k": "v"}) == MemoryFilter(where={"k": "v"})
    assert as_filter(MemoryFilter(unless={"k": 1})).banned() == [token("k", 1)]


@pytest.mark.parametrize(
    "where", [7, "k", ["k"], {"k": {}}, {"k": [[1]]}, {"k": b"x"}, {"k": float("inf")}, {3: 1}]
)
def test_other_things_are_refused(where: Any):
    """What is no filter, and values that cannot be filtered by, are E0802."""
    with pytest.raises(SemanticMemoryError) as caught:
        as_filter(where)
    assert caught.value.code == "E0802"


def test_narrowing_adds_one_condition_and_takes_no_other_value():
    """A filter that asks for another value of the key is refused, one that asks for the same is narrowed."""
    assert EVERYTHING.narrowed("s", "1") == MemoryFilter(where={"s": "1"})
    assert MemoryFilter(where={"s": "1"}).narrowed("s", "1").where == {"s": "1"}
    with pytest.raises(SemanticMemoryError):
        MemoryFilter(where={"s": "2"}).narrowed("s", "1")
