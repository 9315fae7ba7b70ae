"""The disk is full, or fails: what a commit says then, and what is left."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine.journal.failures import IO_EXIT_CODE
from perdure.engine.journal.schema import MIGRATIONS, SqliteOptions
from perdure.engine.journal.sqlite import SqliteJournal
from tests.contract.journal.samples import commit, commit_all, first, then, turn
from tests.crash.journal_check import acked, check, check_now, run_child

# strace counts by thread: these are the syncs of the thread that makes a new file and brings its schema up to date, one
# for each migration. Every later number is one of the thread that writes.
OPENING = 6 + len(MIGRATIONS)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    yield folder
    # Lazily, so that a test which failed with files open leaves no disk behind.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_refuses_and_recovers(small_disk):
    """E0501 for each commit while there is no room, nothing lost, and commits again when there is room."""

    async def body():
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 1_500_000)
        journal = SqliteJournal(
            small_disk / "data", SystemClock(), options=SqliteOptions(checkpoint_bytes=300_000)
        )
        await journal.open()
        await commit_all(journal, [first(f"x{i}") for i in range(5)], check=True)
        seqs = dict.fromkeys((f"x{i}" for i in range(5)), 1)
        refused = 0
        for number in range(400):
            group = [then(name, seq, turn(number, 2_000)) for name, seq in seqs.items()]
            for what, answer in zip(group, await commit_all(journal, group), strict=True):
                if answer is None:
                    seqs[what.execution_id] += 2
                else:
                    assert answer.code == "E0501"
                    assert answer.fix
                    refused += 1
            if refused >= 15:
                break
        assert refused >= 15
        assert {row.execution_id: row.last_seq for row in await journal.unfinished()} == seqs
        ballast.unlink()
        for name, seq in seqs.items():
            assert await commit(journal, then(name, seq, turn(1, 2_000))) is None
            seqs[name] += 2
        await journal.close()
        assert await check(small_disk / "data", seqs) == seqs

    asyncio.run(body())


def test_a_full_disk_at_the_start(small_disk):
    """A journal that cannot be made says E0501 and holds no lock."""

    async def body():
        with (
            (small_disk / "ballast").open("wb", buffering=0) as ballast,
            pytest.raises(OSError, match="space"),
        ):
            while True:
                ballast.write(b"\0" * 4096)
        journal = SqliteJournal(small_disk / "data", SystemClock())
        for _ in range(2):
            with pytest.raises(JournalError) as caught:
                await journal.open()
            assert caught.value.code == "E0501"
        (small_disk / "ballast").unlink()
        await journal.open()
        assert await commit(journal, first("x1")) is None
        await journal.close()

    asyncio.run(body())


def can_trace() -> bool:
    """Whether strace is here and may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(
            ["strace", "-f", "-o", os.devnull, "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


needs_strace = pytest.mark.skipif(not can_trace(), reason="strace is absent or may not trace here")


def run_on_bad_disk(folder: Path, call: str, number: int) -> subprocess.CompletedProcess[str]:
    """A child one of whose system calls fails with EIO."""
    trace = folder / "trace"
    inject = f"inject={call}:error=EIO:when={number}"
    before = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", inject]
    child = run_child(folder / "data", rounds=12, before=before)
    assert "INJECTED" in trace.read_text()
    return child


@needs_strace
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("fdatasync", OPENING + 1),
        ("fdatasync", OPENING + 5),
        ("fdatasync", OPENING + 9),
        ("pwrite64", 90),
        ("pwrite64", 150),
    ],
    ids=["sync-1", "sync-5", "sync-9", "write-90", "write-150"],
)
def test_a_failing_disk_ends_the_process(call, number, tmp_path):
    """EIO of a sync or a write is never retried: status 74, one line, and what was acknowledged is there."""
    child = run_on_bad_disk(tmp_path, call, number)
    assert child.returncode == IO_EXIT_CODE, child.stderr
    assert child.stderr.count("perdure: the disk failed") == 1
    assert "closed" not in child.stdout
    promised = acked(child.stdout)
    assert promised
    check_now(tmp_path / "data", promised)


@needs_strace
@pytest.mark.parametrize("number", [1, OPENING - 1, OPENING])
def test_a_disk_that_fails_while_a_journal_is_opened(number, tmp_path):
    """E0506: no journal is opened, nothing is acknowledged, and the next start makes the schema whole."""
    child = run_on_bad_disk(tmp_path, "fdatasync", number)
    assert child.returncode == 1
    assert "E0506" in child.stderr
    assert child.stdout == ""
    check_now(tmp_path / "data", {})
