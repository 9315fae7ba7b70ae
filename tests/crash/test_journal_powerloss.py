"""The power fails at any moment: with `synchronous=FULL` no acknowledged commit is ever lost (I1).

The same test run over `synchronous=NORMAL` must find losses; if it did not, it would prove nothing.
The long run: `pytest -m long tests/crash/test_journal_powerloss.py`.
"""

import asyncio
import shutil
from pathlib import Path

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine.journal.schema import DATABASE_FILE, SqliteOptions
from perdure.engine.journal.sqlite import SqliteJournal
from tests.crash.journal_child import commits
from tests.crash.power_loss import Op, RecordingVFS, images

ROUNDS = 25


async def record(folder: Path, synchronous, vfs: RecordingVFS) -> None:
    """Eight executions take turns; acknowledgements go into the record where they were given."""
    options = SqliteOptions(synchronous=synchronous, checkpoint_bytes=500_000, vfs=vfs.name)
    journal = SqliteJournal(folder, SystemClock(), options=options)
    await journal.open()
    vfs.ops.append(Op("ack", "open 0"))
    seqs: dict[str, int] = {}
    for number in range(ROUNDS):
        group = commits(number, seqs)
        answers = [asyncio.get_running_loop().create_future() for _ in group]
        for what, answer in zip(group, answers, strict=True):
            journal.commit(what, answer.set_result)
        for what, answer in zip(group, answers, strict=True):
            assert await answer is None
            seqs[what.execution_id] = what.expected_seq + len(what.events)
            vfs.ops.append(Op("ack", f"{what.execution_id} {seqs[what.execution_id]}"))
    assert journal.statistics()["checkpoints"] >= 2
    await journal.close()


async def missing_after(folder: Path, acks: list[str]) -> str:
    """What a server that starts on these files misses of what was acknowledged; empty: nothing."""
    promised = {name: int(seq) for name, seq in (ack.split() for ack in acks) if name != "open"}
    journal = SqliteJournal(folder, SystemClock())
    try:
        await journal.open()
    except JournalError as error:
        return f"it does not open: {error.code}"
    try:
        problems = await journal.audit()
        rows = {row.execution_id: row.last_seq for row in await journal.unfinished()}
    finally:
        await journal.close()
    lost = [
        f"{name}: {rows.get(name, 0)} of {seq}" for name, seq in promised.items() if rows.get(name, 0) < seq
    ]
    return "; ".join(problems + lost)


def losses(tmp_path: Path, synchronous: str, count: int, seed: int) -> list[str]:
    """Record a run, then start a server on *count* images of it; the images that lost something."""
    vfs = RecordingVFS(f"recording-{synchronous}-{seed}")
    try:
        asyncio.run(record(tmp_path / "recorded", synchronous, vfs))
    finally:
        vfs.unregister()
    found = []
    folder = tmp_path / "image"
    for name, acks, files in images(vfs.ops, count, seed):
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        assert (folder / DATABASE_FILE).exists()
        missing = asyncio.run(missing_after(folder, acks))
        if missing:
            found.append(f"{name}: {missing}")
        shutil.rmtree(folder)
    return found


def test_full_loses_nothing(tmp_path):
    """I1, I2 over 240 images of a recorded run."""
    assert losses(tmp_path, "FULL", 240, seed=1) == []


def test_normal_does_lose(tmp_path):
    """Sensitivity: without a sync at commit the same images lack acknowledged commits."""
    assert len(losses(tmp_path, "NORMAL", 80, seed=2)) > 10


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 120))
def test_full_loses_nothing_over_many_images(seed, tmp_path):
    """I1, I2 over 20 recorded runs of 1,000 images each."""
    assert losses(tmp_path, "FULL", 1_000, seed) == []
