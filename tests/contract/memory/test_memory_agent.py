"""What an agent's execution does with its memory: `recall` before, `remember` after, both safe to repeat."""

import asyncio
from collections.abc import Iterator

import pytest

from perdure.core.errors import SemanticMemoryError
from perdure.memory.agent import HEADER, MAX_PASSAGES, PASSAGE_CHARS, passages, recall, remember
from perdure.memory.embedders import WordLlamaEmbedder
from perdure.memory.memory import SemanticMemory
from tests.contract.memory.conftest import Adapter

pytest.importorskip("wordllama")
EMBEDDER = WordLlamaEmbedder()


@pytest.fixture
def memory(adapter: Adapter) -> Iterator[SemanticMemory]:
    """An agent's memory over each store."""
    with SemanticMemory(adapter.make(), agent="support", user="u1", embedder=EMBEDDER) as memory:
        yield memory


def test_what_was_remembered_is_recalled_in_a_later_execution(memory: SemanticMemory):
    """The exchange of one execution is in the block of the next, in another session, under the heading."""

    async def scenario() -> None:
        assert await recall(memory, "Which food does my dog like?", "s1", "x1") == ""
        kept = await remember(memory, "My dog Bruno only eats chicken.", "I will remember that.", "s1", "x1")
        assert len(kept) == 1
        block = await recall(memory, "What should I feed my dog?", "s2", "x2")
        assert block.startswith(HEADER + "\n- (")
        assert "Asked: My dog Bruno only eats chicken. Answered: I will remember that." in block
        assert await recall(memory, "Explain the rules of chess.", "s2", "x2") == ""

    asyncio.run(scenario())
    entry = memory.list_all()[0]
    assert entry.metadata == {"execution_id": "x1", "session_id": "s1", "kind": "exchange", "passage": 0}


def test_doing_it_again_changes_nothing(memory: SemanticMemory):
    """remember is idempotent by execution, also with another answer; recall leaves its own execution out."""

    async def scenario() -> None:
        first = await remember(memory, "When is the deadline?", "The deadline is Friday.", "s", "x1")
        assert await remember(memory, "When is the deadline?", "The deadline is Friday.", "s", "x1") == first
        assert await remember(memory, "When is the deadline?", "The deadline is Monday.", "s", "x1") == first
        assert await recall(memory, "When is the deadline?", "s", "x1") == ""
        assert "Friday" in await recall(memory, "When is the deadline?", "s", "x2")
        second = await remember(memory, "When is the deadline?", "The deadline is Friday.", "s", "x2")
        assert not set(first) & set(second)

    asyncio.run(scenario())
    assert len(memory.list_all()) == 2


def test_concurrent_repeats_store_once(memory: SemanticMemory):
    """Two workers that finish the same step at once keep the exchange once."""

    async def scenario() -> None:
        answers = await asyncio.gather(
            *(remember(memory, "Ship it?", "Shipped on Tuesday.", "s", "x1") for _ in range(6))
        )
        assert len({tuple(ids) for ids in answers}) == 1

    asyncio.run(scenario())
    assert len(memory.list_all()) == 1


def test_long_answers_are_kept_in_passages(memory: SemanticMemory):
    """A long answer becomes passages that are found one by one; a very long one is cut."""
    topics = ["bees and honey", "steam locomotives", "the moons of Jupiter"]
    answer = "\n\n".join(" ".join([f"This part is about {topic}."] * 40) for topic in topics)

    async def scenario() -> None:
        ids = await remember(memory, "Tell me three things.", answer, "s", "x1")
        assert len(ids) == len(set(ids)) >= 3
        assert "locomotives" in (await recall(memory, "Which trains run on steam?", "", "x2")).splitlines()[1]
        assert len(await remember(memory, "Long?", "word " * 50_000, "", "x3")) == MAX_PASSAGES

    asyncio.run(scenario())


def test_sessions_that_are_kept_apart_are_recalled_apart(memory: SemanticMemory):
    """A memory with across_sessions=False recalls what was said in the same session, and nothing else."""
    apart = memory.scoped(session_id="none", across_sessions=False)

    async def scenario() -> None:
        await remember(apart, "My cat is called Minka.", "Noted.", "s1", "x1")
        assert "Minka" in await recall(apart, "What is my cat called?", "s1", "x2")
        assert await recall(apart, "What is my cat called?", "s2", "x3") == ""

    asyncio.run(scenario())


def test_odd_texts_do_not_fail_the_execution(memory: SemanticMemory):
    """Empty and unstorable texts are kept as far as they can be, and recall nothing."""

    async def scenario() -> None:
        assert await remember(memory, "question", " ", "s", "x1") == []
        assert await recall(memory, " \n", "s", "x1") == ""
        assert len(await remember(memory, "", "An answer with \x00 and \ud800 in it.", "", "x2")) == 1
        assert len(await remember(memory, "q" * 200_000, "An answer.", "", "x3")) == 1
        assert isinstance(await recall(memory, "q\x00" * 200_000, "", "x4"), str)
        with pytest.raises(SemanticMemoryError):
            await remember(memory, "q", "a", "s", "")

    asyncio.run(scenario())
    assert any("An answer with � and � in it." in e.content for e in memory.list_all())


@pytest.mark.parametrize("text", ["", "short", "word " * 1000, "x" * 5000, "One. " * 900, "a\n\nb" * 800])
def test_passages_lose_nothing_but_white_space(text: str):
    """Passages keep to their size and together are the text."""
    pieces = passages(text)
    assert all(0 < len(piece) <= PASSAGE_CHARS for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
