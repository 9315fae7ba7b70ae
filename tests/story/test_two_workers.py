"""Two workers: one dies in mid-tool, or is stopped for longer than its lease and then wakes up."""

import asyncio
import re
import signal
import time
from typing import Any

from perdure import AgentHandle
from tests.story.programs.cast import carrier
from tests.story.stage import SOON_S, Process, Stage, until

DEFAULT_LEASE_MS = 5_000
WORST_MS = DEFAULT_LEASE_MS + 2_000


def two_workers(stage: Stage) -> dict[int, Process]:
    """A server and two workers that are ready, by process id."""
    stage.start_server()
    found = [stage.worker("carrier", called=f"worker-{n}") for n in (1, 2)]
    until(lambda: all("serving" in w.said() for w in found), "two workers")
    return {w.pid: w for w in found}


def begin(stage: Stage, first_attempt_s: float) -> tuple[str, dict[str, Any]]:
    """An execution whose tool has taken effect for the first time and has not returned, and that effect.

    Started without the tools, so that only the two workers can run them.
    """
    with stage.runtime() as runtime:
        runtime.deploy(carrier(first_attempt_s))
        execution_id = runtime.start("carrier", "Carry it").execution_id
    return execution_id, until(stage.ledger, "the first effect", every=0.01)[0]


def test_the_task_of_a_dead_worker_is_retaken_within_its_lease_and_two_seconds(tmp_path):
    """With the default lease of 5 s the other worker begins the second attempt at most 7 s after the SIGKILL."""
    with Stage(tmp_path / "stage") as stage:
        workers = two_workers(stage)
        execution_id, first = begin(stage, 60)
        killed_at_ms = time.time_ns() // 1_000_000
        workers[first["pid"]].kill()
        with stage.runtime() as runtime:
            result = AgentHandle(execution_id, runtime).join(SOON_S)
        again = stage.ledger()[1]
        stage.stop_server()
        kinds = asyncio.run(stage.checked())

    retaken_ms = again["at_ms"] - killed_at_ms
    print(f"retaken {retaken_ms} ms after the SIGKILL, lease {DEFAULT_LEASE_MS} ms")
    assert retaken_ms <= WORST_MS
    assert result.output == "carried at attempt 2"
    assert again["pid"] != first["pid"]
    assert (again["key"], again["step"], again["epoch"]) == (first["key"], first["step"], 2)
    assert "tool_lost" in kinds


def test_a_zombie_is_refused(stage: Stage):
    """A worker that is stopped past its lease and wakes up hands in a result that is refused; journal and ledger agree."""
    workers = two_workers(stage)
    execution_id, first = begin(stage, 1)
    zombie = workers[first["pid"]]
    zombie.send(signal.SIGSTOP)
    with stage.runtime() as runtime:
        handle = AgentHandle(execution_id, runtime)
        result = handle.join(SOON_S)
        until(lambda: time.time_ns() // 1_000_000 > first["at_ms"] + 1_200, "the zombie's sleep to be over")
        zombie.send(signal.SIGCONT)
        until(lambda: "came too late (E0307)" in zombie.said(), "the refusal")
        assert zombie.exit_code is None, "a refused result is no reason to end"
        recorded = [e.result for e in handle.events() if e.type == "tool_result"]
    refused = re.search(rb'perdure_task_results_total\{outcome="refused"\} (\S+)', stage.get("/metrics"))
    stage.stop_server()
    asyncio.run(stage.checked())

    assert result.output == "carried at attempt 2"
    assert recorded == ["carried at attempt 2"]
    assert refused is not None
    assert float(refused[1]) == 1
    assert [(e["epoch"], e["key"]) for e in stage.ledger()] == [(1, first["key"]), (2, first["key"])]
