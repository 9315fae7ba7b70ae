"""/worker over the real engine: tasks, tokens, receipts, heartbeats."""

import asyncio
import hmac

import pytest

from perdure.server.tokens import TaskTokens
from tests.server.harness import API, SECRET, in_loop, with_tool, world


def _result(task, **changes):
    return {k: task[k] for k in ("execution_id", "step", "epoch", "token")} | {"result": "seen"} | changes


@in_loop
async def test_poll_gives_tasks_and_takes_results():
    """A task carries what the tool needs; its result is receipted with null and the execution goes on."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(calls=2), session_id="s")
        first = await w.poll(want=2)
        assert first["receipts"] == []
        tasks = sorted(first["tasks"], key=lambda t: t["arguments"]["n"])
        assert [t["arguments"] for t in tasks] == [{"n": 0}, {"n": 1}]
        assert {t["agent"] for t in tasks} == {"helper"}
        assert {t["session_id"] for t in tasks} == {"s"}
        assert len({t["idempotency_key"] for t in tasks}) == 2
        assert all(t["lease_ms"] == 5_000 for t in tasks)
        second = await w.poll(want=0, results=[_result(t) for t in tasks])
        assert second == {"tasks": [], "receipts": [None, None]}
        assert (await w.ended(execution_id))["output"] == "looked"
        workers = (await w.door.get(f"{API}/workers")).json["workers"]
        assert [(x["worker"], x["leases"]) for x in workers] == [("w1", 0)]


@in_loop
async def test_a_result_counts_once():
    """The same result handed in again gets E0307, which tells the worker to drop it."""
    async with world() as w:
        await w.start(definition=with_tool())
        task = (await w.poll())["tasks"][0]
        assert (await w.poll(want=0, results=[_result(task)]))["receipts"] == [None]
        again = (await w.poll(want=0, results=[_result(task, result="other")]))["receipts"]
        assert again[0]["code"] == "E0307"


@pytest.mark.parametrize(
    "change",
    [
        {"token": "A" * 43},
        {"token": ""},
        {"token": "ü" * 43},
        {"epoch": 2},
        {"epoch": 0},
        {"epoch": -1},
        {"epoch": 10**300},
        {"step": "t0.other"},
        {"execution_id": "x000"},
    ],
)
@in_loop
async def test_a_changed_token_or_attempt_is_refused(change):
    """A token is good for its attempt alone: anything else is E0311 and the good result beside it still counts."""
    async with world() as w:
        await w.start(definition=with_tool(calls=2))
        tasks = (await w.poll(want=2))["tasks"]
        answer = await w.poll(want=0, results=[_result(tasks[0], **change), _result(tasks[1])])
        assert answer["receipts"][0]["code"] == "E0311"
        assert answer["receipts"][1] is None


@in_loop
async def test_another_workers_token_is_refused():
    """A result under another worker's name is E0311."""
    async with world() as w:
        await w.start(definition=with_tool())
        task = (await w.poll("w1"))["tasks"][0]
        answer = await w.poll("w2", want=0, results=[_result(task)])
        assert answer["receipts"][0]["code"] == "E0311"


def test_tokens_are_derived_not_stored():
    """Another process with the same secret makes the same token; another secret, another attempt do not."""
    attempt = ("x1", "t0.1", 1, "w1")
    token = TaskTokens(SECRET).mint(*attempt)
    assert TaskTokens(SECRET).check(token, *attempt)
    assert not TaskTokens(b"other" * 8).check(token, *attempt)
    key = hmac.digest(SECRET, b"perdure task token v1", "sha256")
    assert token == hmac.new(key, b"2:x14:t0.11:w1", "sha256").hexdigest()
    # Texts that would join to the same bytes must not share a token.
    assert TaskTokens(SECRET).mint("x11", "t", 1, "w") != TaskTokens(SECRET).mint("x1", "1t", 1, "w")
    assert TaskTokens(SECRET).mint("x", "t1", 1, "w") != TaskTokens(SECRET).mint("x", "t", 11, "w")


@in_loop
async def test_a_failed_result_goes_to_the_model():
    """An error that is not to be retried is recorded and the agent goes on."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool())
        task = (await w.poll())["tasks"][0]
        error = {"code": "E0301", "what": "It broke"}
        answer = await w.poll(want=0, results=[_result(task, result=None, error=error, retryable=False)])
        assert answer["receipts"] == [None]
        assert (await w.ended(execution_id))["status"] == "completed"
        events = (await w.door.get(f"{API}/executions/{execution_id}/events")).json["events"]
        failed = next(e["event"] for e in events if e["event"]["kind"] == "tool_failed")
        assert failed["error"]["what"] == "It broke"


@in_loop
async def test_a_result_with_nul_fails_the_call_and_no_other():
    """A result that cannot be stored is told to the model as E0303; its neighbours are recorded."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(calls=2))
        tasks = (await w.poll(want=2))["tasks"]
        results = [_result(tasks[0], result={"text": "a\0b"}), _result(tasks[1], result="not a nul: \\u0000")]
        assert (await w.poll(want=0, results=results))["receipts"] == [None, None]
        await w.ended(execution_id)
        events = (await w.door.get(f"{API}/executions/{execution_id}/events")).json["events"]
        assert [e["event"]["error"]["code"] for e in events if e["event"]["kind"] == "tool_failed"] == [
            "E0303"
        ]
        completed = [e["event"]["result"] for e in events if e["event"]["kind"] == "tool_completed"]
        assert completed == ["not a nul: \\u0000"]


@in_loop
async def test_heartbeats_keep_leases():
    """A held lease is true; one of another epoch, worker or execution is false."""
    async with world() as w:
        await w.start(definition=with_tool())
        task = (await w.poll())["tasks"][0]
        lease = {k: task[k] for k in ("execution_id", "step", "epoch")}

        async def held(worker: str, *leases) -> list[bool]:
            reply = await w.door.post(f"{API}/worker/heartbeat", {"worker": worker, "leases": list(leases)})
            assert reply.status == 200, reply.body
            return reply.json["held"]

        assert await held("w1", lease, lease | {"epoch": 9}, lease | {"execution_id": "x0"}) == [
            *(True, False),
            False,
        ]
        assert await held("w2", lease) == [False]
        assert await held("w1") == []


@in_loop
async def test_a_long_poll_gets_a_task_that_comes_later():
    """A poll that waits is answered when a task appears, and with nothing when its time is over."""
    async with world() as w:
        polling = asyncio.ensure_future(w.poll(wait_ms=5_000))
        await asyncio.sleep(0.05)
        await w.start(definition=with_tool())
        answer = await asyncio.wait_for(polling, 3)
        assert len(answer["tasks"]) == 1
        assert await w.poll("w2", wait_ms=20) == {"tasks": [], "receipts": []}


@in_loop
async def test_a_poll_of_a_worker_that_is_gone_takes_no_task():
    """When the connection of a waiting poll is lost, the next task goes to another worker at once."""
    async with world() as w:
        scope = w.door.scope(
            "POST", f"{API}/worker/poll", {"content-type": "application/json"}, length=99, key=True
        )
        gone = asyncio.Event()
        body = b'{"worker":"lost","tools":["helper.look"],"wait_ms":60000}'
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def ignore(_message) -> None:
            pass

        polling = asyncio.ensure_future(w.app(scope, receive, ignore))
        await asyncio.sleep(0.05)
        gone.set()
        await asyncio.wait_for(polling, 1)
        await w.start(definition=with_tool())
        assert len((await w.poll("alive"))["tasks"]) == 1


@in_loop
async def test_stopping_answers_waiting_polls_and_still_records():
    """At a stop, waiting polls are answered at once, and results that come in are recorded."""
    async with world() as w:
        await w.start(definition=with_tool(calls=2))
        task = (await w.poll(want=1))["tasks"][0]
        polling = asyncio.ensure_future(w.poll("w2", ["helper.other"], wait_ms=60_000))
        await asyncio.sleep(0.05)
        w.service.begin_stop()
        assert await asyncio.wait_for(polling, 1) == {"tasks": [], "receipts": []}
        assert await w.poll(results=[_result(task)]) == {"tasks": [], "receipts": [None]}


@pytest.mark.parametrize(
    "change",
    [
        {"worker": ""},
        {"worker": "a\nb"},
        {"worker": "a\0b"},
        {"worker": "w" * 201},
        {"want": -1},
        {"want": 1_001},
        {"tools": ["t"] * 1_001},
        {"tools": ["a\0b"]},
        {"tools": "helper.look"},
        {"wait_ms": "soon"},
        {"results": [{"execution_id": "x"}]},
    ],
)
@in_loop
async def test_a_wrong_poll_is_refused(change):
    """A poll that does not fit is refused with a code, never with an error of the server's own."""
    async with world() as w:
        body = {"worker": "w1", "tools": ["helper.look"], "wait_ms": 0} | change
        reply = await w.door.post(f"{API}/worker/poll", body)
        assert reply.status == 400, reply.body
        assert reply.code in {"E0605", "E0611"}
