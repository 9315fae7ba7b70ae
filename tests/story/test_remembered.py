"""An agent with a semantic memory: what was said in one session is recalled in another, after the server was restarted."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perdure import Agent, AgentRuntime, SemanticMemory, SqliteVecStore
from perdure.testing import MockModel
from tests.story.stage import SOON_S

pytest.importorskip("wordllama")
pytest.importorskip("sqlite_vec")


def runtime(folder: Path) -> AgentRuntime:
    """A runtime on the data of the folder."""
    return AgentRuntime(embedded=True, data_dir=folder / "data", home=folder)


def recalled(opened: AgentRuntime, execution_id: str) -> str:
    """What the execution was told of earlier conversations, as its journal has it."""

    async def read() -> list[dict[str, Any]]:
        api = (await opened.session.connection()).api
        return [record.event for record in (await api.events(execution_id)).events]

    found = [e["value"] for e in opened.session.call(read()) if e.get("subject") == "recalled"]
    return "".join(found)


def test_what_was_said_is_recalled_in_another_session(tmp_path: Path):
    """The exchange is kept at the end, found by its meaning later, once; what has nothing to do with it is not in the way."""

    def agent() -> Agent:
        memory = SemanticMemory(SqliteVecStore(tmp_path / "memory.db"), max_results=1, agent="support")
        return Agent("support", MockModel(["Noted."]), semantic_memory=memory)

    with runtime(tmp_path) as opened:
        support = agent()
        first = opened.run(support, "My dog Bruno only eats chicken.", session_id="monday", timeout=SOON_S)
        assert recalled(opened, first.execution_id) == ""
        opened.run(support, "The invoice goes to Vienna.", session_id="monday", timeout=SOON_S)
        support.semantic_memory.close()
    with runtime(tmp_path) as opened:
        support = agent()
        later = opened.run(support, "What should I feed my dog?", session_id="friday", timeout=SOON_S)
        told = recalled(opened, later.execution_id)
        assert "Bruno only eats chicken" in told
        assert "Vienna" not in told
        assert len(asyncio.run(_all(support.semantic_memory))) == 3
        support.semantic_memory.close()


async def _all(memory: SemanticMemory) -> list[Any]:
    return list(await memory.aio.list_all())
