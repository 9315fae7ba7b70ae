"""A disk that remembers, and what it could hold if the power failed at any moment.

`RecordingVFS` passes everything on to the system and writes down every write, truncation and sync. `images` rebuilds
from that record what could be found after a power loss: all that was synced, and of the rest nothing, everything, any
subset, or any subset of torn 512-byte sectors. The file system's own order of things is not relied upon: writes that
were not synced may be lost or kept in any combination.
"""

import random
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

import apsw

SECTOR = 512
MODES = ("none", "all", "random", "torn")


class Op(NamedTuple):
    """One thing that was done to a file; an acknowledgement stands between them, with its text as `file`."""

    what: str  # write, truncate, sync, ack
    file: str
    offset: int = 0
    data: bytes = b""


class RecordingVFS(apsw.VFS):
    """The system's files, with a record of what was done to the database and its log."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ops: list[Op] = []
        super().__init__(name, "")

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return RecordingFile(name, flags, self.ops)


class RecordingFile(apsw.VFSFile):
    """One file of `RecordingVFS`."""

    def __init__(self, name, flags, ops: list[Op]) -> None:
        self.ops = ops
        path = name if isinstance(name, str) or name is None else name.filename()
        kept = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL)
        self.name = "" if path is None or not kept else PurePath(path).name
        if flags[0] & apsw.SQLITE_OPEN_WAL and not self.name.endswith("-wal"):
            self.name += "-wal"
        super().__init__("", name, flags)

    def xWrite(self, data, offset):  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        if self.name:
            self.ops.append(Op("write", self.name, offset, bytes(data)))

    def xTruncate(self, size):  # noqa: N802 - SQLite's name
        super().xTruncate(size)
        if self.name:
            self.ops.append(Op("truncate", self.name, size))

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        super().xSync(flags)
        if self.name:
            self.ops.append(Op("sync", self.name))


class Disk:
    """The record played forward: `durable` is what is sure, `unsynced` what may be there."""

    def __init__(self) -> None:
        self.durable: dict[str, bytearray] = {}
        self.unsynced: dict[str, list[Op]] = {}
        self.acks: list[str] = []

    def play(self, op: Op) -> None:
        if op.what == "ack":
            self.acks.append(op.file)
        elif op.what == "sync":
            for waiting in self.unsynced.pop(op.file, []):
                _apply(self.durable.setdefault(op.file, bytearray()), waiting)
        else:
            self.unsynced.setdefault(op.file, []).append(op)

    def after_power_loss(self, mode: str, rng: random.Random) -> dict[str, bytes]:
        """The files' contents, as one of `MODES` leaves them."""
        files = {name: bytearray(content) for name, content in self.durable.items()}
        for name, waiting in self.unsynced.items():
            content = files.setdefault(name, bytearray())
            for op in waiting:
                if mode == "torn" and op.what == "write":
                    for sector in _sectors(op):
                        if rng.random() < 0.5:
                            _apply(content, sector)
                elif mode == "all" or (mode in {"random", "torn"} and rng.random() < 0.5):
                    _apply(content, op)
        return {name: bytes(content) for name, content in files.items()}


def images(ops: list[Op], count: int, seed: int) -> Iterator[tuple[str, list[str], dict[str, bytes]]]:
    """*count* power losses at random moments: a name, what had been acknowledged, and the files."""
    rng = random.Random(seed)
    opened = next(i for i, op in enumerate(ops) if op.what == "ack")  # before it there is no journal yet
    cuts = sorted(rng.randint(opened, len(ops)) for _ in range(count))
    disk, played = Disk(), 0
    for number, cut in enumerate(cuts):
        for op in ops[played:cut]:
            disk.play(op)
        played = cut
        mode = MODES[number % len(MODES)]
        name = f"seed {seed}, image {number}, {mode}, after {cut} of {len(ops)}"
        yield name, disk.acks[:], disk.after_power_loss(mode, rng)


def _sectors(op: Op) -> Iterator[Op]:
    start = 0
    while start < len(op.data):
        length = SECTOR - (op.offset + start) % SECTOR
        yield Op("write", op.file, op.offset + start, op.data[start : start + length])
        start += length


def _apply(content: bytearray, op: Op) -> None:
    if op.what == "truncate":
        del content[op.offset :]
        return
    if len(content) < op.offset:
        content.extend(b"\0" * (op.offset - len(content)))
    content[op.offset : op.offset + len(op.data)] = op.data
