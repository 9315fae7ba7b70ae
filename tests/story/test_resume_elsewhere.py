"""The program that ran an agent is gone for good; another one takes its execution up by its id."""

import asyncio

from perdure import AgentHandle, Status
from tests.story.stage import Stage, until


def test_another_process_takes_up_what_a_dead_one_had_begun(stage: Stage):
    """Without the tools one is told that nobody serves them; with them the same call is finished under the same key."""
    stage.start_server()
    starter = stage.program("starter")
    first = until(stage.ledger, "the tool to take effect")[0]
    starter.kill()

    execution_id = first["execution"]
    joiner = stage.program("resumer", "join", execution_id, called="joiner")
    with stage.runtime() as runtime:
        handle = AgentHandle(execution_id, runtime)
        status = until(
            lambda: (now := handle.get_status()).status is Status.WAITING_WORKER and now, "waiting:worker"
        )
    assert status.is_waiting
    assert [(w.kind, w.tool) for w in status.waiting_for] == [("worker", "carry")]
    told = until(lambda: "E0312" in joiner.said() and joiner.said(), "the hint")
    assert "No worker serves carrier.carry" in told
    assert "serve(agent)" in told

    resumer = stage.program("resumer", "resume", execution_id)
    for process in (resumer, joiner):
        assert process.ended() == 0, process.said()
        assert process.lines() == [{"status": "completed", "output": "carried at attempt 2"}]
    stage.stop_server()
    asyncio.run(stage.checked())
    assert [(e["epoch"], e["key"]) for e in stage.ledger()] == [(1, first["key"]), (2, first["key"])]
