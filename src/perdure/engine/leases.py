"""Leases: who works on what, for how long. In memory, on monotonic time, by the server's clock alone.

A lease is not stored: the journal has who took which epoch of a step, and after a restart each of those gets one
lease length of grace in which its worker can say that it lives. What is not renewed in time is `TaskSilent`.
"""

import msgspec

from perdure.clock import Clock
from perdure.engine.ports import LeaseRef

Key = tuple[str, str]  # execution id, step


class Lease(msgspec.Struct):
    """One attempt in the hands of a worker; `expires` is monotonic seconds."""

    worker: str
    epoch: int
    expires: float


class Leases:
    """The leases, by execution and step."""

    def __init__(self, clock: Clock, lease_ms: int) -> None:
        self._clock = clock
        self._length = lease_ms / 1000
        self._held: dict[Key, Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    def grant(self, key: Key, worker: str, epoch: int) -> None:
        """Begin a lease."""
        self._held[key] = Lease(worker, epoch, self._clock.monotonic() + self._length)

    def holds(self, key: Key, epoch: int) -> bool:
        """Whether this epoch of the step is held."""
        lease = self._held.get(key)
        return lease is not None and lease.epoch == epoch

    def renew(self, worker: str, ref: LeaseRef) -> bool:
        """Whether *worker* holds this epoch; if so for another length."""
        lease = self._held.get((ref.execution_id, ref.step))
        if lease is None or lease.worker != worker or lease.epoch != ref.epoch:
            return False
        lease.expires = self._clock.monotonic() + self._length
        return True

    def end(self, key: Key, epoch: int | None = None) -> None:
        """The step is settled or withdrawn; with *epoch*, only if that is the epoch that is held."""
        lease = self._held.get(key)
        if lease is not None and epoch in (None, lease.epoch):
            del self._held[key]

    def count_of(self, worker: str) -> int:
        """How many attempts a worker holds."""
        return sum(lease.worker == worker for lease in self._held.values())

    def expire(self) -> list[tuple[Key, Lease]]:
        """End and return the leases that ran out."""
        now = self._clock.monotonic()
        gone = [(key, lease) for key, lease in self._held.items() if lease.expires <= now]
        for key, _ in gone:
            del self._held[key]
        return gone
