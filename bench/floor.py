"""The floor: what the disk and SQLite give without an engine, and what the journal makes of it.

    python -m bench.floor [--scratch FOLDER] [--rounds 3]

Absolute times mean something only beside these, measured in the same run on the same disk:

    append       one 4 KB append to a file, synced
    commit       one bare SQLite commit of a 600-byte row, WAL, synchronous=FULL
    bare         a group-commit journal of 60 lines: producers that each write 2 KB steps in sequence
    journal      the same producers through `SqliteJournal.commit`: two events and a state of 400 bytes a step

`bare` and `journal` take turns, round by round.
"""

import argparse
import asyncio
import json
import os
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import apsw

from bench import machine, measure
from perdure.clock import SystemClock
from perdure.core.events import ExecutionStarted, ModelCompleted, ModelRequested
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import Usage
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import Commit, NewExecution

STATE = b'{"state":"' + b"s" * 388 + b'"}'


def append(folder: Path, times: int = 300, size: int = 4096) -> dict[str, float]:
    """p50, p95 and p99 in ms of one synced append."""
    block = os.urandom(size)
    took = []
    handle = os.open(folder / "append", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(times):
            began = time.perf_counter()
            os.write(handle, block)
            os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)
            took.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(handle)
    return measure.quantiles(took, "append_ms")


def commit(folder: Path, times: int = 500, size: int = 600) -> dict[str, float]:
    """p50, p95 and p99 in ms of one bare commit of one row."""
    row = os.urandom(size)
    took = []
    db = bare_connection(folder / "commit.db")
    try:
        for _ in range(times):
            began = time.perf_counter()
            db.execute("INSERT INTO steps(payload) VALUES (?)", (row,))
            took.append((time.perf_counter() - began) * 1000)
    finally:
        db.close()
    return measure.quantiles(took, "commit_ms")


def bare_connection(path: Path) -> apsw.Connection:
    """SQLite as the journal sets it, with one table."""
    db = apsw.Connection(str(path))
    db.execute(
        "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0"
    )
    db.execute("CREATE TABLE steps(pos INTEGER PRIMARY KEY, producer INT, seq INT, payload BLOB)")
    return db


class BareJournal:
    """Group commit and nothing else: no conflicts, no checksums, no state, no reading."""

    def __init__(self, folder: Path) -> None:
        self._db = bare_connection(folder / "bare.db")
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._db.close()

    def submit(self, producer: int, seq: int, payload: bytes, done: Callable[[None], None]) -> None:
        self._queue.put((producer, seq, payload, done))

    def _run(self) -> None:
        while True:
            items = [self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get())
            rows = [item[:3] for item in items if item is not None]
            if rows:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany("INSERT INTO steps(producer, seq, payload) VALUES (?, ?, ?)", rows)
                self._db.execute("COMMIT")
                self._loop.call_soon_threadsafe(_answer, [item[3] for item in items if item is not None])
            if None in items:
                return


def _answer(callbacks: list[Callable[[None], None]]) -> None:
    for done in callbacks:
        done(None)


Submit = Callable[[int, int, str, Callable[[Any], None]], None]


async def produce(submit: Submit, producers: int, steps: int, size: int) -> dict[str, float]:
    """Producers that each write one step after the other, all at once; steps/s and the time of a step."""
    took: list[float] = []

    async def one(number: int) -> None:
        text = measure.text_of(size, f"producer {number}")
        for seq in range(steps):
            text = measure.step(text, size)
            answered = asyncio.get_running_loop().create_future()
            began = time.perf_counter()
            submit(number, seq, text, answered.set_result)
            if (error := await answered) is not None:
                raise RuntimeError(str(error))
            took.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(producers)))
    seconds = time.perf_counter() - began
    return {"steps_per_s": producers * steps / seconds, "seconds": seconds, **measure.quantiles(took)}


async def bare(folder: Path, producers: int = 200, steps: int = 20, size: int = 2048) -> dict[str, float]:
    """The producers over `BareJournal`."""
    journal = BareJournal(folder)
    journal.start()
    try:
        return await produce(
            lambda number, seq, text, done: journal.submit(number, seq, text.encode(), done),
            producers,
            steps,
            size,
        )
    finally:
        journal.stop()


async def journal(folder: Path, producers: int = 200, steps: int = 20, size: int = 2048) -> dict[str, float]:
    """The producers over `SqliteJournal`: each step is a model's answer and the next request."""
    clock = SystemClock()
    target = SqliteJournal(folder / "journal", clock)
    await target.open()

    def submit(number: int, seq: int, text: str, done: Callable[[Any], None]) -> None:
        answer = Message("assistant", (TextPart(text),))
        events = (
            ModelCompleted(
                step=f"m{seq}", attempt=1, message=answer, usage=Usage(500, 500), finish_reason="stop"
            ),
            ModelRequested(step=f"m{seq + 1}", turn=seq + 1),
        )
        target.commit(Commit(f"x{number:026}", 1 + 2 * seq, clock.now_ms(), events, STATE, "running"), done)

    try:
        await _start_all(target, producers, clock)
        before = target.statistics()
        answer = await produce(submit, producers, steps, size)
        after = target.statistics()
        moved = {name: after[name] - before[name] for name in ("commits", "syncs", "bytes_written")}
        answer["commits_per_sync"] = moved["commits"] / max(1, moved["syncs"])
        answer["bytes_per_step"] = moved["bytes_written"] / (producers * steps)
        return answer
    finally:
        await target.close()


async def _start_all(target: SqliteJournal, producers: int, clock: SystemClock) -> None:
    answers = []
    for number in range(producers):
        answers.append(asyncio.get_running_loop().create_future())
        execution_id = f"x{number:026}"
        new = NewExecution(execution_id, "bench", "plan", "bench", "bench", clock.now_ms())
        started = ExecutionStarted(agent="bench", plan_hash="plan", input=user("go"), started_by="bench")
        target.commit(
            Commit(execution_id, 0, clock.now_ms(), (started,), STATE, "running", new=new),
            answers[-1].set_result,
        )
    await asyncio.gather(*answers)


def in_turns(scratch: Path, rounds: int, **load: int) -> list[dict[str, Any]]:
    """`bare` and `journal`, in turn, each on an empty folder; the load average stands beside each figure."""
    sides: dict[str, Callable[..., Awaitable[dict[str, float]]]] = {"bare": bare, "journal": journal}
    figures = []
    for number in range(rounds):
        for name, side in sides.items():
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                before = machine.load()
                answer = asyncio.run(side(Path(folder), **load))
                figures.append({"side": name, "round": number, **load, "load_before": before, **answer})
    return figures


def run(scratch: Path, rounds: int) -> dict[str, Any]:
    """All of it, as one JSON object."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        answer: dict[str, Any] = {"load_before": machine.load()}
        answer |= append(Path(folder))
        answer |= commit(Path(folder))
    answer["together"] = in_turns(scratch, rounds, producers=200, steps=20, size=2048)
    answer["alone"] = in_turns(scratch, rounds, producers=1, steps=200, size=2048)
    answer["load_after"] = machine.load()
    answer["machine"] = machine.facts(scratch)
    return answer


def show(answer: dict[str, Any]) -> str:
    """The answer as text: medians over the rounds, minimum and maximum in brackets."""
    lines = [
        f"{name:8} p50 {answer[f'{name}_ms_p50']:.3f} ms   p99 {answer[f'{name}_ms_p99']:.3f} ms"
        for name in ("append", "commit")
    ]
    for title in ("together", "alone"):
        for side in ("bare", "journal"):
            rows = [row for row in answer[title] if row["side"] == side]
            rates = [row["steps_per_s"] for row in rows]
            p50, p99 = (statistics.median(row[f"step_ms_{q}"] for row in rows) for q in ("p50", "p99"))
            lines.append(
                f"{side:8} {title:8} ({rows[0]['producers']} x {rows[0]['steps']}): {statistics.median(rates):.0f} steps/s"
                f" [{min(rates):.0f} to {max(rates):.0f}]   step p50 {p50:.2f} ms, p99 {p99:.2f} ms"
            )
    lines.append(f"load average {answer['load_before']} before, {answer['load_after']} after")
    return "\n".join(lines)


def main() -> None:
    """Measure and print; the JSON object is the last line."""
    parser = argparse.ArgumentParser(description="What the disk gives, and what the journal makes of it.")
    parser.add_argument("--scratch", type=Path, default=Path(".cache/bench"), help="a folder on a real disk")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    chosen.scratch.mkdir(parents=True, exist_ok=True)
    answer = run(chosen.scratch, chosen.rounds)
    sys.stdout.write(f"{show(answer)}\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
