"""The embedder that is used when none is given: wordllama, a small model of word vectors inside its wheel.

A text becomes the mean of its tokens' vectors: 256 numbers in a tenth of a millisecond, without a network, a key or a
graphics card. It knows what words mean and nothing of their order; for finer distinctions give the memory an `Embedder`
of your own, e.g. over a provider's API.
"""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure.core.errors import SemanticMemoryError
from perdure.memory.ports import Vector, VectorSpace
from perdure.memory.stores.failures import missing_library

_CONFIG = "l2_supercat"
_DIMENSION = 256
# The mean of more words says less, and costs more: what comes after this is not looked at.
_MOST_CHARS = 20_000


class WordLlamaEmbedder:
    """An `Embedder` on this machine. Needs wordllama (`perdure[memory]`); loads with the first use, in about 0.3 s.

    The model is loaded once and may be used by any number of memories.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def relevant_score(self) -> float:
        """0.25, by the measure of docs/memory.md: most that belongs together is above, most that does not is below."""
        return 0.25

    async def space(self) -> VectorSpace:
        """The model's name and dimension; loads it, so that a missing library is told early."""
        await asyncio.to_thread(self._load)
        return VectorSpace(f"wordllama/{_CONFIG}_{_DIMENSION}", _DIMENSION)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """The mean vector of each text's first 20,000 characters."""
        return await asyncio.to_thread(self._embed, [text[:_MOST_CHARS] for text in texts])

    def _embed(self, texts: list[str]) -> list[Vector]:
        model = self._load()
        with self._lock:
            vectors: list[Vector] = model.embed(texts, norm=True).tolist()
        return vectors

    def _load(self) -> Any:
        with self._lock:
            if self._model is None:
                try:
                    import wordllama
                except ImportError as error:
                    raise missing_library("wordllama, the default embedder,", "memory", error) from error
                try:
                    # The files are in the wheel, where the library's own default does not look for the tokenizer;
                    # it would ask a hub on the network instead.
                    self._model = wordllama.WordLlama.load(
                        config=_CONFIG,
                        dim=_DIMENSION,
                        cache_dir=Path(wordllama.__file__).parent,
                        disable_download=True,
                    )
                except Exception as error:
                    raise SemanticMemoryError(
                        "E0808",
                        "The default embedder cannot be loaded",
                        why=f"{type(error).__name__}: {error}",
                    ) from error
            return self._model
