"""Counting tokens with a real tokenizer: the extra `tokenizer`, or the heuristic of the core without it.

The library carries its vocabularies, so nothing is fetched. OpenAI's models are counted exactly, by the vocabulary of
their generation. For other vendors, which publish none, OpenAI's present one is the measure, with a tenth added: a
budget that is estimated too high refuses early, one too low is passed.

Loading a vocabulary takes up to a second and 80 MB; it is done once for each process, with the first text that is counted.
"""

import functools
from importlib.util import find_spec
from typing import Any

from perdure.core.model import ModelRef
from perdure.core.tokens import Tokens, heuristic_tokens

LIBRARY = "quicktok"
_OPENAI = frozenset({"openai", "azure_openai"})
# Models of the generation before GPT-4o, by what their names begin with.
_EARLIER = ("gpt-4-", "gpt-3.5", "gpt-35", "text-embedding-")
_EARLIER_NAMES = frozenset({"gpt-4"})
_SURPLUS = 10  # one more token for each so many, where the vocabulary is not the model's own


def is_installed() -> bool:
    """Whether the extra `tokenizer` is there."""
    return find_spec(LIBRARY) is not None


def token_counter(model: ModelRef) -> Tokens:
    """A counter for the texts of *model*; the heuristic where the extra is not installed. Nothing is loaded yet."""
    if not is_installed():
        return heuristic_tokens
    name = model.name.lower()
    if model.provider not in _OPENAI:
        return _estimated
    return _earlier if name in _EARLIER_NAMES or name.startswith(_EARLIER) else _present


@functools.cache
def _encoding(name: str) -> Any:
    import quicktok  # type: ignore[import-untyped]

    return quicktok.get_encoding(name)


def _count(encoding: str, text: str) -> int:
    # The library takes no lone surrogates; they are no text, and no vendor is ever sent any.
    return int(_encoding(encoding).count(text.encode(errors="replace").decode()))


def _present(text: str, /) -> int:
    return _count("o200k_base", text)


def _earlier(text: str, /) -> int:
    return _count("cl100k_base", text)


def _estimated(text: str, /) -> int:
    counted = _present(text)
    return counted + -(-counted // _SURPLUS)
