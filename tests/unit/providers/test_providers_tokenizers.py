"""Counting tokens with the vocabularies of the extra `tokenizer`."""

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.model import ModelRef
from perdure.providers.tokenizers import is_installed, token_counter

NEW = ModelRef("openai", "gpt-4o-mini")
OLD = ModelRef("azure_openai", "gpt-4-turbo")
OTHER = ModelRef("anthropic", "claude-opus-5-5")


@pytest.mark.parametrize(
    ("text", "new", "old"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("The quick brown fox jumps over the lazy dog.", 10, 10),
        ("tiktoken is great!", 6, 6),
        ("antidisestablishmentarianism", 6, 6),
        ("お誕生日おめでとう", 8, 9),
        ("2 + 2 = 4", 7, 7),
        ("<|endoftext|>", 7, 7),
    ],
)
def test_openais_models_are_counted_exactly(text: str, new: int, old: int):
    """Known texts have the number of tokens that OpenAI's own tokenizer gives; special tokens are plain text."""
    assert token_counter(NEW)(text) == new
    assert token_counter(OLD)(text) == old


def test_each_generation_has_its_vocabulary():
    """GPT-4 and GPT-3.5 have the earlier vocabulary, everything since GPT-4o the present one."""
    earlier = token_counter(OLD)
    assert token_counter(ModelRef("openai", "gpt-4")) is earlier
    assert token_counter(ModelRef("openai", "gpt-3.5-turbo")) is earlier
    assert token_counter(ModelRef("openai", "gpt-4.1")) is token_counter(NEW)
    assert token_counter(ModelRef("openai", "o3")) is token_counter(NEW)


def test_other_vendors_are_estimated_with_a_surplus():
    """What another vendor's model takes is estimated a tenth higher, rounded up."""
    text = "The quick brown fox jumps over the lazy dog. " * 10
    counted = token_counter(NEW)(text)
    assert token_counter(OTHER)(text) == counted + (counted + 9) // 10
    assert token_counter(OTHER)("") == 0


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_counted(text: str):
    """Every text has a count, lone surrogates included, and never more tokens than bytes."""
    size = len(text.encode(errors="replace"))
    for model in (NEW, OLD):
        assert (size > 0) <= token_counter(model)(text) <= size


@pytest.mark.parametrize("piece", ["a", " ", "😀", "a\u0301", "\n", "1", "=", "ab "])
def test_no_text_holds_the_counter_up(piece: str):
    """1 MB of one repeated piece is counted within a second."""
    text = piece * (1_000_000 // len(piece.encode()))
    count = token_counter(NEW)
    count("")
    start = time.process_time()
    assert count(text) > 0
    assert time.process_time() - start < 1


HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name == "quicktok" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
from perdure.core.model import ModelRef
from perdure.core.tokens import heuristic_tokens
from perdure.providers.tokenizers import is_installed, token_counter
assert not is_installed()
assert token_counter(ModelRef("openai", "gpt-4o")) is heuristic_tokens
"""


def test_without_the_extra_the_heuristic_counts():
    """Where the library is not installed, the counter is the core's."""
    assert is_installed()
    subprocess.run([sys.executable, "-c", HIDDEN], check=True)


def test_nothing_is_loaded_before_it_is_needed():
    """Choosing a counter imports no library."""
    code = (
        "import sys\nfrom perdure.core.model import ModelRef\n"
        "from perdure.providers.tokenizers import token_counter\n"
        "token_counter(ModelRef('openai', 'gpt-4o'))\nassert 'quicktok' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
