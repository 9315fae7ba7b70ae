"""Metrics: what is counted, under which names, in a format that Prometheus reads."""

import asyncio
from typing import get_args

from prometheus_client.parser import text_string_to_metric_families

from perdure.core.errors import JournalError
from perdure.engine.ports import Status
from tests.server.harness import API, in_loop, with_tool, world


async def _numbers(w) -> dict[str, float]:
    reply = await w.door.get("/metrics")
    assert reply.header("content-type").startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


@in_loop
async def test_what_happens_is_counted():
    """Starts, ends by status, tasks, results, polls and requests by route are counted."""
    async with world() as w:
        before = await _numbers(w)
        assert before["perdure_executions_ended_total status=completed"] == 0
        done = await w.start(definition=with_tool())
        task = (await w.poll())["tasks"][0]
        result = {k: task[k] for k in ("execution_id", "step", "epoch", "token")}
        await w.poll(want=0, results=[result, result | {"token": "forged"}])
        await w.ended(done)
        waiting = await w.start(definition=with_tool(approval_required=True))
        await w.door.post(f"{API}/executions/{waiting}/cancel")
        await w.door.get(f"{API}/executions/x404")
        after = await _numbers(w)
        expected = {
            "perdure_executions_started_total": 2,
            "perdure_executions status=running": 0,
            "perdure_executions status=waiting:approval": 0,
            "perdure_executions status=completed": 1,
            "perdure_executions status=cancelled": 1,
            "perdure_executions_ended_total status=completed": 1,
            "perdure_executions_ended_total status=cancelled": 1,
            "perdure_executions_ended_total status=failed": 0,
            "perdure_task_polls_total": 2,
            "perdure_tasks_dispatched_total": 1,
            "perdure_task_results_total outcome=recorded": 1,
            "perdure_task_results_total outcome=refused": 1,
            "perdure_workers": 1,
            "perdure_leases": 0,
            "perdure_sse_streams": 0,
            "perdure_http_requests_total method=POST route=/api/v1/executions status=200": 2,
            "perdure_http_requests_total method=GET route=/api/v1/executions/{execution_id} status=404": 1,
            "perdure_http_request_seconds_count method=POST route=/api/v1/worker/poll": 2,
        }
        assert {name: after.get(name) for name in expected} == expected
        assert after["perdure_journal_commits_total"] > before["perdure_journal_commits_total"]
        assert after["perdure_journal_events_total"] > 0


@in_loop
async def test_executions_are_shown_by_status():
    """Every status is a gauge at each scrape, also one that no execution has."""
    async with world() as w:
        before = await _numbers(w)
        names = {name for name in before if name.startswith("perdure_executions status=")}
        assert names == {f"perdure_executions status={status}" for status in get_args(Status)}
        assert not any(before[name] for name in names)
        await w.start(definition=with_tool(approval_required=True))
        await w.start(definition=with_tool())
        async with asyncio.timeout(5):
            while (await _numbers(w))["perdure_executions status=waiting:approval"] != 1:
                await asyncio.sleep(0.01)


@in_loop
async def test_a_journal_that_cannot_be_read_does_not_fail_the_scrape():
    """The executions by status are left out, and every other metric is there."""

    async def unreadable() -> dict[str, int]:
        raise JournalError("E0506", "The journal cannot be read")

    async with world(counts=unreadable) as w:
        found = await _numbers(w)
        assert not any(name.startswith("perdure_executions status=") for name in found)
        assert found["perdure_executions_started_total"] == 0


@in_loop
async def test_no_name_appears_twice():
    """Each metric is one family, and no label holds an id: the number of series is bounded."""
    async with world() as w:
        for n in range(5):
            await w.door.get(f"{API}/executions/x{n}")
            await w.door.get(f"/nothing/{n}")
        text = (await w.door.get("/metrics")).body.decode()
        names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(names) == len(set(names))
        assert "x3" not in text
        assert "nothing" not in text
