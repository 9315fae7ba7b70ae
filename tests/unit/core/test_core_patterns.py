"""Guardrails that are patterns."""

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import DefinitionError
from perdure.core.patterns import MAX_FIXED_MATCHES, REDACTED, check_pattern, judge

SSN = r"\b\d{3}-\d{2}-\d{4}\b"
MEGABYTE = 1_000_000
# Each makes a backtracking engine try more ways than there is time for.
CATASTROPHIC = [
    "(a+)+$",
    "(a|aa)+$",
    "(a|a?)+$",
    "(.*a){20}",
    "(x+x+)+y",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(?:a?){100}a{100}b",
    ".*.*.*=.*",
    r"^(\w+\s?)*$",
    r"([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}[.]{1}[a-z]{2,3}))$",
]
HOSTILE = {
    "one letter": "a" * MEGABYTE + "!",
    "xx": "x" * MEGABYTE,
    "words": "aaaa " * (MEGABYTE // 5) + "!",
    "wide characters": "é" * (MEGABYTE // 2) + "!",
}


def guard(*patterns: str, **options) -> GuardrailDefinition:
    """A guardrail of these patterns."""
    return GuardrailDefinition("g", kind="regex", patterns=patterns, **options)


def test_block_fails_when_any_pattern_is_found():
    """Mode block passes a text without its patterns and fails one with any of them."""
    both = guard(SSN, "(?i)secret")
    assert judge(both, "nothing here").passed
    assert not judge(both, "my number is 123-45-6789").passed
    assert not judge(both, "a SECRET").passed


def test_allow_fails_when_no_pattern_is_found():
    """Mode allow passes a text with one of its patterns and fails any other."""
    either = guard("^yes$", "^no$", mode="allow")
    assert judge(either, "yes").passed
    assert judge(either, "no").passed
    assert not judge(either, "yes and no").passed
    assert not judge(guard(mode="allow"), "anything").passed


def test_the_message_is_the_guardrails_own():
    """A failed check says the definition's message, or names the guardrail and the pattern."""
    assert judge(guard("x", message="No x, please."), "x").message == "No x, please."
    assert judge(guard("x"), "x").message == "The text has something that the guardrail 'g' forbids: 'x'"
    assert "'g'" in judge(guard("x", mode="allow"), "y").message
    assert judge(guard("x"), "y").message == ""


def test_the_ends_are_those_of_the_text():
    """`^` and `$` are the ends of the whole text, and of lines with (?m) alone."""
    assert judge(guard("^b"), "a\nb").passed
    assert judge(guard("a$"), "a\n").passed
    assert not judge(guard("(?m)^b$"), "a\nb\nc").passed


@pytest.mark.parametrize(
    ("patterns", "text", "fixed"),
    [
        ((SSN,), "a 123-45-6789 b 987-65-4321.", "a [redacted] b [redacted]."),
        (("a", "b"), "xaby", "x[redacted]y"),
        (("abc", "bcd"), "xabcdy", "x[redacted]y"),
        (("red",), "red, not [redacted]", "[redacted], not [[redacted]acted]"),
        (("ß+",), "straße ßß", "stra[redacted]e [redacted]"),
        (("a*",), "bab", "b[redacted]b"),
        ((r"^\s*$",), "", REDACTED),
        (("b*$",), "aaa", REDACTED),
        (("a.",), "a😀a😀b", "[redacted]b"),
        (("x",), "x\ud800y", "[redacted]?y"),
    ],
)
def test_a_fix_redacts_each_match(patterns: tuple[str, ...], text: str, fixed: str):
    """Each match is replaced; adjoining matches are one; an empty match redacts the whole."""
    verdict = judge(guard(*patterns, on_fail="fix"), text)
    assert not verdict.passed
    assert verdict.fixed == fixed


def test_only_a_blocking_fix_offers_a_text():
    """There is no fixed text when the check passes, when nothing is fixed, and in mode allow."""
    assert judge(guard("x", on_fail="fix"), "y").fixed is None
    assert judge(guard("x", on_fail="raise"), "x").fixed is None
    assert judge(guard("x", on_fail="fix", mode="allow"), "y").fixed is None


def test_a_text_full_of_matches_is_redacted_whole():
    """Beyond 1,000 matches the whole text is replaced, however short the matches are."""
    few = judge(guard("a", on_fail="fix"), "ab" * MAX_FIXED_MATCHES)
    assert few.fixed == f"{REDACTED}b" * MAX_FIXED_MATCHES
    assert judge(guard("a", on_fail="fix"), "ab" * (MAX_FIXED_MATCHES + 1)).fixed == REDACTED


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_no_text_holds_a_pattern_up(pattern: str, text: str):
    """1 MB of hostile text is judged by each catastrophic pattern within 100 ms, and redacted within a second."""
    check_pattern(pattern, "g")
    judge(guard(pattern), "")
    times = []
    for _ in range(3):  # the least of three: the machine has other work
        start = time.perf_counter()
        judge(guard(pattern), text)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1
    start = time.perf_counter()
    judge(guard(pattern, on_fail="fix"), text)
    assert time.perf_counter() - start < 1


def test_a_text_too_long_for_a_large_pattern_has_not_passed():
    """What would be slow even in linear time fails the check and says so."""
    large = guard("(?:.{1,100}){10}z")
    assert judge(large, "a" * 1_000).passed
    verdict = judge(large, "a" * MEGABYTE)
    assert not verdict.passed
    assert "too long (1000000 bytes)" in verdict.message


@pytest.mark.parametrize(
    ("pattern", "code", "why"),
    [
        ("(?=a)", "E0101", "lookahead"),
        ("(?!a)b", "E0101", "lookahead"),
        ("(?<=a)b", "E0101", "lookbehind"),
        (r"(a)\1", "E0101", "reference back"),
        ("a++", "E0101", "possessive"),
        ("(?>a)", "E0101", "atomic"),
        ("[", "E0101", "missing ]"),
        ("*", "E0101", "no argument"),
        ("\\", "E0101", "trailing"),
        ("\ud800", "E0101", "lone surrogates"),
        ("a{1001}", "E0106", "1,000"),
        ("(a{100}){100}", "E0106", "1,000"),
        (r"\pL{1000}", "E0106", "too large"),
        (r"\pL{20}", "E0106", "instructions"),
        ("a" * 10_001, "E0106", "characters"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(pattern: str, code: str, why: str):
    """A pattern outside RE2, or over a limit, is refused with the reason and the place."""
    with pytest.raises(DefinitionError) as caught:
        check_pattern(pattern, "the guardrail g")
    assert caught.value.code == code
    assert why in caught.value.why
    assert caught.value.where == "the guardrail g"
    assert caught.value.fix


def test_a_pattern_that_was_not_checked_fails_closed():
    """A guardrail with a pattern that does not compile has not passed, in either mode."""
    for mode in ("block", "allow"):
        verdict = judge(guard("(?=a)", mode=mode), "a")
        assert not verdict.passed
        assert "cannot be judged" in verdict.message


def test_another_kind_is_refused():
    """Only guardrails of the kind regex are judged here."""
    with pytest.raises(DefinitionError, match="kind llm"):
        judge(GuardrailDefinition("g", kind="llm"), "a")


def test_a_wrong_pattern_is_silent():
    """RE2 writes nothing to standard error about a pattern that it refuses."""
    code = (
        "from perdure.core.patterns import judge\nfrom perdure.core.definition import GuardrailDefinition\n"
        "judge(GuardrailDefinition('g', kind='regex', patterns=('(?=a)', '[')), 'a')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_an_error(pattern: str):
    """Checking never raises anything else than a DefinitionError, and what passes can be judged."""
    try:
        check_pattern(pattern, "here")
    except DefinitionError:
        assert "cannot be judged" in judge(guard(pattern), "some text").message
    else:
        assert "cannot be judged" not in judge(guard(pattern), "some text").message


SIMPLE = st.recursive(
    st.sampled_from(["a", "b", "é", "[ab]", "[^a]", r"\d", "."]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map("(?:{})+".format),
        inner.map("(?:{})?".format),
    ),
    max_leaves=5,
)


@settings(max_examples=200)
@given(SIMPLE, st.text("abé1\n", max_size=12))
def test_the_engine_finds_what_pythons_finds(pattern: str, text: str):
    """On what both engines know, a text is blocked when Python's engine finds the pattern in it."""
    found = re.search(pattern, text) is not None
    assert judge(guard(pattern), text).passed is not found
    assert judge(guard(pattern, mode="allow"), text).passed is found


@given(st.text("ab1 -", max_size=40))
def test_a_fixed_text_has_no_match_left(text: str):
    """After a fix with a pattern that says nothing of its surroundings, only our own mark could match again."""
    verdict = judge(guard("[0-9]+", on_fail="fix"), text)
    if not verdict.passed:
        assert judge(guard("[0-9]+"), verdict.fixed).passed
        assert verdict.fixed == re.sub("[0-9]+", REDACTED, text, flags=re.ASCII)
