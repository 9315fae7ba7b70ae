"""A process to be killed: writes to a journal and says what was acknowledged.

    python -m tests.crash.journal_child DATA_DIR CRASH_POINT ROUNDS

Eight executions take turns, a group of commits each round. Each acknowledged commit is one line on standard output,
`ack EXECUTION SEQ`, written at once; an error is `error CODE EXECUTION`. With ROUNDS 0 it opens the journal, says
`open`, and waits to be killed.
"""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.core.events import AnyEvent
from perdure.engine import faults
from perdure.engine.journal.schema import SqliteOptions
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import Commit, StoredExecution
from tests.contract.journal.samples import every_body_event, first, then, tool_events, turn

EXECUTIONS = 8


def say(line: str) -> None:
    """One line, past all buffers."""
    os.write(1, f"{line}\n".encode())


def events_of(round_number: int) -> tuple[AnyEvent, ...]:
    """Small, large and compressed ones in turn."""
    kinds = (
        turn(round_number, 300),
        tool_events(f"t{round_number}", "r" * 500),
        every_body_event("b" * 5_000)[2:4],
    )
    return kinds[round_number % len(kinds)]


def commits(round_number: int, seqs: dict[str, int]) -> list[Commit]:
    """The group of one round."""
    if round_number == 0:
        return [first(f"x{i}") for i in range(EXECUTIONS)]
    return [then(name, seq, events_of(round_number)) for name, seq in seqs.items()]


async def write(journal: SqliteJournal, rounds: int) -> None:
    """All rounds, each after the answers of the one before."""
    loop = asyncio.get_running_loop()
    seqs: dict[str, int] = {}

    def done(
        commit: Commit, answered: asyncio.Future[None], outcome: StoredExecution | JournalError | None
    ) -> None:
        if isinstance(outcome, JournalError):
            say(f"error {outcome.code} {commit.execution_id}")
        else:
            seqs[commit.execution_id] = commit.expected_seq + len(commit.events)
            say(f"ack {commit.execution_id} {seqs[commit.execution_id]}")
        answered.set_result(None)

    for number in range(rounds):
        group = commits(number, seqs)
        answers = [loop.create_future() for _ in group]
        for commit, answered in zip(group, answers, strict=True):
            journal.commit(commit, partial(done, commit, answered))
        await asyncio.gather(*answers)


async def main(data_dir: Path, point: str, rounds: int) -> None:
    """Open, write, close."""
    journal = SqliteJournal(data_dir, SystemClock(), options=SqliteOptions(checkpoint_bytes=200_000))
    await journal.open()
    say("open")
    if point:
        faults.arm(point)
    if not rounds:
        await asyncio.sleep(600)
    await write(journal, rounds)
    await journal.close()
    say("closed")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
