"""What an operator may set of the engine."""

import msgspec


class EngineConfig(msgspec.Struct, frozen=True):
    """Units are in the names.

    Attributes:
        lease_ms: how long a worker holds a task without a heartbeat.
        max_faults: engine faults in a row before an execution is quarantined (E10).
        idle_ms: how long an execution that waits for a worker stays in memory.
        storage_retry_ms: the pause before a journal that could not be written is tried again.
        worker_seen_ms: a worker not heard of for this long is not listed.
    """

    lease_ms: int = 5_000
    max_faults: int = 5
    idle_ms: int = 2_000
    storage_retry_ms: int = 1_000
    worker_seen_ms: int = 60_000
