"""Processes that are killed in the middle of adding, and files that are damaged."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from perdure.core.errors import SemanticMemoryError
from perdure.memory.stores.sqlite_vec import SqliteVecStore
from tests.contract.memory.adding_process import BATCH
from tests.contract.memory.samples import NOW_MS, SPACE, entry, unit

apsw = pytest.importorskip("apsw")
sqlite_vec = pytest.importorskip("sqlite_vec")
ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 8
NS = "a/u"


def _add_until_killed(path: Path, first: int, answers: int, delay_ms: float) -> list[int]:
    """The numbers of the batches that were answered before the process was killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.contract.memory.adding_process", str(path), str(first)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert process.stdout is not None
    seen = [int(process.stdout.readline()) for _ in range(answers)]
    try:
        process.wait(delay_ms / 1000)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    seen += [int(line) for line in process.stdout.read().splitlines() if line.strip()]
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return seen


def _tables_agree(path: Path) -> None:
    db = apsw.Connection(str(path))
    try:
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        assert db.pragma("integrity_check") == "ok"
        entries = {row[0] for row in db.execute("SELECT entry FROM memory_entries")}
        assert {row[0] for row in db.execute("SELECT rowid FROM memory_vectors")} == entries
        assert {row[0] for row in db.execute("SELECT entry FROM memory_tokens")} == entries
    finally:
        db.close()


def test_what_was_answered_survives_kill_9_and_nothing_is_there_by_halves(tmp_path: Path):
    """M4: after each kill in mid-add all answered batches are there, whole ones only, and each entry is found."""
    path, draw = tmp_path / "memory.db", random.Random(20261125)
    answered: list[int] = []
    first = 0
    for _ in range(ROUNDS):
        answered += _add_until_killed(path, first, draw.randint(1, 6), draw.uniform(0, 12))
        _tables_agree(path)
        first = max(answered)  # the last answered batch comes again, as a retried call would bring it

    async def check() -> None:
        store = SqliteVecStore(path)
        try:
            listed = await store.list_all(NS, NOW_MS)
            batches = Counter(e.metadata["batch"] for e in listed)
            assert set(answered) <= set(batches)
            assert set(batches.values()) == {BATCH}
            for number in random.Random(1).sample(sorted(batches), 10):
                wanted = entry(f"{number}-0")
                found = await store.search(SPACE, NS, wanted.embedding or (), 1, NOW_MS)
                assert found[0].id == wanted.id
        finally:
            await store.close()

    asyncio.run(check())


def test_a_call_that_is_repeated_after_the_kill_adds_nothing(tmp_path: Path):
    """M1 over a crash: the batch that was answered before the kill is not new afterwards."""
    path = tmp_path / "memory.db"
    last = max(_add_until_killed(path, 0, 3, 5))

    async def check() -> None:
        store = SqliteVecStore(path)
        before = len(await store.list_all(NS, NOW_MS))
        again = await store.add(SPACE, [entry(f"{last}-{n}") for n in range(BATCH)], NOW_MS)
        assert not any(answer.new for answer in again)
        assert len(await store.list_all(NS, NOW_MS)) == before
        await store.close()

    asyncio.run(check())


def test_several_processes_may_add_to_one_file(tmp_path: Path):
    """Two processes and this one write at the same time, and nothing is lost or there twice."""
    path = tmp_path / "memory.db"
    command = [sys.executable, "-m", "tests.contract.memory.adding_process", str(path)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    others = [
        subprocess.Popen([*command, start], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
        for start in ("0", "1000000")
    ]

    async def check() -> int:
        store = SqliteVecStore(path)
        for n in range(10):
            assert (await store.add(SPACE, [entry(f"here-{n}", metadata={"batch": -n})], NOW_MS))[0].new
        numbers = [int(other.stdout.readline()) for other in others for _ in range(5) if other.stdout]
        for other in others:
            other.kill()
            other.wait()
            other.stdout.close()  # type: ignore[union-attr]
        listed = {e.id for e in await store.list_all(NS, NOW_MS)}
        await store.close()
        assert {f"{number}-{n}" for number in numbers for n in range(BATCH)} <= listed
        assert {f"here-{n}" for n in range(10)} <= listed
        return len(listed)

    assert asyncio.run(check()) >= 60
    _tables_agree(path)


async def _code(path: Path) -> str:
    store = SqliteVecStore(path)
    try:
        await store.add(SPACE, [entry("a")], NOW_MS)
        await store.search(SPACE, NS, unit(1), 1, NOW_MS)
    except SemanticMemoryError as error:
        return error.code
    finally:
        await store.close()
    return ""


def test_a_file_that_is_no_memory_is_refused_and_left_alone(tmp_path: Path):
    """Garbage, another program's database and a newer form are E0806, a folder that cannot be made is E0805."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all " * 500)
    other = tmp_path / "other.db"
    db = apsw.Connection(str(other))
    db.execute("CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)")
    db.close()
    newer = tmp_path / "newer.db"
    assert asyncio.run(_code(newer)) == ""
    db = apsw.Connection(str(newer))
    db.execute("PRAGMA user_version = 99")
    db.close()
    for path in (garbage, other, newer):
        was = path.read_bytes() if path is garbage else None
        assert asyncio.run(_code(path)) == "E0806", path
        assert was is None or path.read_bytes() == was
    assert asyncio.run(_code(garbage / "below" / "memory.db")) == "E0805"


def test_the_file_is_readable_by_its_owner_only(tmp_path: Path):
    """What agents remember of users is nobody else's: the file and its log have mode 0600."""
    path = tmp_path / "new" / "memory.db"

    async def look() -> list[int]:
        store = SqliteVecStore(path)
        await store.add(SPACE, [entry("a")], NOW_MS)
        modes = [file.stat().st_mode & 0o777 for file in path.parent.iterdir()]
        await store.close()
        return modes

    assert set(asyncio.run(look())) == {0o600}
