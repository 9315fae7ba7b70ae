"""Text made safe for a terminal (security, S-20)."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli import text

ATTACKS = [
    "\x1b[2J\x1b[H",  # clears the screen
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",  # a link that shows another address
    "\x1b]52;c;ZXZpbA==\x07",  # writes the clipboard
    "\x1b]0;title\x07",
    "\x9b31m",  # CSI as one C1 character
    "a\rb",  # overwrites the line
    "a\x08b",
    "amount=10\u202e00",  # right to left
    "\u2066x\u2069",
    "re\u200bfund",  # zero width
    "x\u2028y\u2029z",
    "\ufeffbom",
    "tag\U000e0041",
    "\U000e0100selector",
    "\x00\x07\x7f",
    "lone \ud800 surrogate",
    "\u3164filler\uffa0",
]


def is_harmless(shown: str, *, lines: bool) -> bool:
    """Whether nothing in it is obeyed by a terminal or hidden from a reader."""
    allowed = {"\n"} if lines else set()
    bad = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return all(c in allowed or unicodedata.category(c) not in bad for c in shown)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_shown_and_not_sent(attack: str):
    """Escapes, controls, bidi marks and invisible characters become their names, in every way of printing."""
    for shown, lines in (
        (text.block(attack), True),
        (text.line(attack), False),
        (text.compact({attack: [attack]}), False),
        (text.pretty({attack: [attack]}), True),
        (text.machine({attack: attack}), False),
        (text.machine({attack: attack}, indent=2), True),
    ):
        assert is_harmless(shown, lines=lines), ascii(shown)
        assert shown.encode()


@given(st.text(alphabet=st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "L", "N", "Mn", "So"])))
def test_any_text_is_harmless(given_text: str):
    """No text at all gets a control or a format character through."""
    assert is_harmless(text.block(given_text), lines=True)
    assert is_harmless(text.line(given_text), lines=False)
    assert is_harmless(text.machine(given_text), lines=False)


def test_names_say_which_character():
    """The name has the code point."""
    assert text.line("10\u202e0") == "10⟨U+202E⟩0"
    assert text.line("\x1b[31m") == "⟨U+001B⟩[31m"


def test_ordinary_text_is_left_alone():
    """Letters of any script, emoji and punctuation stay as they are; tabs become spaces."""
    for words in ("Grüße, 世界!", "naïve → ½ €", "🎧 ❤️", "שלום"):
        assert text.block(words) == words
    assert text.block("a\tb\r\nc") == "a    b\nc"
    assert text.line("a\nb") == "a⏎b"


def test_clipping_says_how_much_is_missing():
    """A clipped text has the beginning and the number of characters that are left out."""
    assert text.line("x" * 5_000, 10) == "x" * 10 + "… (+4,990 characters)"
    assert text.clip("short", 10) == "short"
    assert text.compact({"a": "y" * 50}, 8).endswith("characters)")


def test_json_for_programs_is_lossless():
    """What programs read decodes to the very value, dangerous characters included."""
    value = {"x": "\x1b]52;c;\x07\u202e\x7f", "n": [1, None, True]}
    assert json.loads(text.machine(value)) == value
    assert json.loads(text.machine(value, indent=2)) == value


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0.0s"),
        (-5, "0.0s"),
        (1_240, "1.2s"),
        (245_000, "4m05s"),
        (11_220_000, "3h07m"),
        (187_200_000, "2d04h"),
    ],
)
def test_durations(ms: int, words: str):
    """A length of time has the units that people would use."""
    assert text.duration(ms) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (812, "812"), (2_100, "2.1k"), (14_000, "14k"), (1_300_000, "1.3M")]
)
def test_counts(number: int, words: str):
    """A number of tokens is short."""
    assert text.count(number) == words
