"""What must hold of a journal after a crash, checked against what a child process was told before it."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from perdure.clock import SystemClock
from perdure.engine.journal.sqlite import SqliteJournal
from tests.contract.journal.samples import commit, then

ROOT = Path(__file__).resolve().parents[2]


def run_child(
    data_dir: Path, point: str = "", rounds: int = 12, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the child to its end, under the command *before* if one is given."""
    command = [*before, sys.executable, "-m", "tests.crash.journal_child", str(data_dir), point, str(rounds)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def acked(output: str) -> dict[str, int]:
    """The last acknowledged seq of each execution."""
    seqs: dict[str, int] = {}
    for line in output.splitlines():
        word, *rest = line.split()
        if word == "ack":
            seqs[rest[0]] = int(rest[1])
    return seqs


async def check(data_dir: Path, promised: dict[str, int]) -> dict[str, int]:
    """I1 and I2: all that was promised is there, gapless and sound, and the executions can go on.

    Returns:
        The last seq of each execution before this check added to it.
    """
    journal = SqliteJournal(data_dir, SystemClock())
    await journal.open()
    try:
        assert await journal.audit() == []
        found: dict[str, int] = {}
        for row in await journal.unfinished():
            events = await journal.events(row.execution_id)
            assert [e.seq for e in events] == list(range(1, row.last_seq + 1)), "I2"
            found[row.execution_id] = row.last_seq
        lost = {name: seq for name, seq in promised.items() if found.get(name, 0) < seq}
        assert not lost, f"I1: acknowledged and lost: {lost}, found {found}"
        for name, seq in found.items():
            assert await commit(journal, then(name, seq)) is None
    finally:
        await journal.close()
    return found


def check_now(data_dir: Path, promised: dict[str, int]) -> dict[str, int]:
    """`check` in an event loop of its own."""
    return asyncio.run(check(data_dir, promised))
