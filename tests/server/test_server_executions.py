"""/executions and /agents over the real engine: what they answer, and what they refuse."""

import asyncio

import pytest

from tests.server.harness import API, definition, in_loop, with_tool, world


@in_loop
async def test_start_by_definition_and_wait_for_the_end():
    """A started execution ends with its output; the key's name is recorded as who started it."""
    async with world() as w:
        reply = await w.door.post(f"{API}/executions", {"prompt": "hi", "definition": definition()})
        assert reply.status == 200
        assert reply.json["created"] is True
        assert reply.json["agent"] == "helper"
        assert reply.json["worker_tools"] == []
        view = await w.ended(reply.json["execution_id"])
        assert (view["status"], view["output"], view["started_by"]) == ("completed", "done", "local")
        assert view["title"] == "hi"


@in_loop
async def test_start_by_deployed_name():
    """A deployed agent starts by its name, and answers with the queues that a worker must serve."""
    async with world() as w:
        deployed = await w.door.post(f"{API}/agents", {"definition": with_tool()})
        assert (deployed.status, deployed.json["version"]) == (200, 1)
        again = await w.door.post(f"{API}/agents", {"definition": with_tool()})
        assert again.json["version"] == 1
        started = await w.door.post(f"{API}/executions", {"prompt": "hi", "agent": "helper"})
        assert started.json["plan_hash"] == deployed.json["plan_hash"]
        assert started.json["worker_tools"] == ["helper.look"]
        newer = await w.door.post(f"{API}/agents", {"definition": definition()})
        assert newer.json["version"] == 2
        listed = await w.door.get(f"{API}/agents")
        assert [a["version"] for a in listed.json["agents"]] == [2]
        one = await w.door.get(f"{API}/agents/helper")
        assert one.json == newer.json
        missing = await w.door.get(f"{API}/agents/nobody")
        assert (missing.status, missing.code) == (404, "E0412")


@in_loop
async def test_plan_says_what_is_needed_and_stores_nothing():
    """Planning answers with the plan, its queues and what the model lacks."""
    async with world() as w:
        reply = await w.door.post(
            f"{API}/agents/plan", {"definition": with_tool() | {"model": "openai/gpt-5"}}
        )
        assert reply.status == 200
        assert reply.json["worker_tools"] == ["helper.look"]
        assert reply.json["plan"]["agent"] == "helper"
        assert reply.json["model_problem"]["code"] == "E0202"
        assert "OPENAI_API_KEY" in reply.json["model_problem"]["fix"]
        assert (await w.door.get(f"{API}/agents")).json == {"agents": []}


@in_loop
async def test_a_missing_key_fails_the_start_and_nothing_is_journaled():
    """Without the provider's key the start fails with E0202 and no execution exists."""
    async with world() as w:
        body = {"prompt": "hi", "definition": definition(model="anthropic/claude-sonnet-4-5")}
        reply = await w.door.post(f"{API}/executions", body)
        assert (reply.status, reply.code) == (400, "E0202")
        assert "ANTHROPIC_API_KEY" in reply.json["error"]["fix"]
        assert (await w.door.get(f"{API}/executions")).json["executions"] == []


@in_loop
async def test_idempotent_start():
    """The same key and request give the same execution; another request with the key is refused."""
    async with world() as w:
        body = {"prompt": "hi", "definition": definition(), "idempotency_key": "once"}
        first = await w.door.post(f"{API}/executions", body)
        second = await w.door.post(f"{API}/executions", body)
        assert second.json["execution_id"] == first.json["execution_id"]
        assert (first.json["created"], second.json["created"]) == (True, False)
        other = await w.door.post(f"{API}/executions", body | {"prompt": "something else"})
        assert (other.status, other.code) == (409, "E0413")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"definition": None}, "E0605"),
        ({"agent": "helper"}, "E0605"),
        ({"prompt": ""}, "E0605"),
        ({"prompt": 7}, "E0605"),
        ({"surprise": 1}, "E0605"),
        ({"timeout_ms": 0}, "E0605"),
        ({"timeout_ms": 10**30}, "E0605"),
        ({"session_id": ""}, "E0605"),
        ({"idempotency_key": "k" * 201}, "E0605"),
        ({"media": [{"kind": "media", "media_type": "image/png"}]}, "E0605"),
        ({"definition": definition(surprise=1)}, "E0101"),
        ({"definition": definition(v=99, novelty=1)}, "E0102"),
        ({"definition": definition(v=99)}, "E0102"),
        ({"definition": definition(model="nonsense")}, "E0107"),
        ({"definition": definition(model="nobody/x")}, "E0201"),
        ({"definition": definition(max_turns=0)}, "E0106"),
        ({"definition": definition(name="a b")}, "E0104"),
        ({"definition": definition(tools=[{"name": "t"}, {"name": "t"}])}, "E0103"),
        ({"definition": "text"}, "E0101"),
    ],
)
@in_loop
async def test_a_wrong_start_is_refused_with_its_code(change, code):
    """Every mistake in a start has a code of its own, and nothing is begun."""
    async with world() as w:
        body = {"prompt": "hi", "definition": definition()} | change
        reply = await w.door.post(f"{API}/executions", {k: v for k, v in body.items() if v is not None})
        assert (reply.status, reply.code) == (400, code), reply.body
        assert reply.json["error"]["what"]
        assert (await w.door.get(f"{API}/executions")).json["executions"] == []


@in_loop
async def test_list_filters_and_pages():
    """Executions are listed newest first, by status, agent and session, page by page."""
    async with world() as w:
        ids = [await w.start(session_id=f"s{n % 2}") for n in range(5)]
        for execution_id in ids:
            await w.ended(execution_id)
        waiting = await w.start(definition=with_tool(approval_required=True) | {"name": "asker"})
        await _until(w, waiting, "waiting:approval")

        async def found(query: str) -> list[str]:
            reply = await w.door.get(f"{API}/executions?{query}")
            assert reply.status == 200, reply.body
            return [e["execution_id"] for e in reply.json["executions"]]

        assert await found("") == [waiting, *reversed(ids)]
        assert await found("status=completed") == list(reversed(ids))
        assert await found("status=completed&status=failed&agent=asker") == []
        assert await found("status=waiting,failed") == [waiting]
        assert await found("session_id=s1") == [ids[3], ids[1]]
        first = (await w.door.get(f"{API}/executions?limit=4&agent=helper")).json
        assert first["next"] == ids[1]
        assert await found(f"limit=4&agent=helper&before={first['next']}") == [ids[0]]
        last = (await w.door.get(f"{API}/executions?limit=4&agent=helper&before={first['next']}")).json
        assert last["next"] is None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=99999999999999999999999",
        "limit=1&limit=2",
        "status=nonsense",
        "unknown=1",
        "agent=%00",
        "agent=%ff",
        "before=" + "x" * 5_000,
    ],
)
@in_loop
async def test_a_wrong_query_is_refused(query):
    """A query that does not fit is refused, never ignored and never an error of the server's own."""
    async with world() as w:
        reply = await w.door.get(f"{API}/executions?{query}")
        assert reply.status == 400, reply.body
        assert reply.code in {"E0605", "E0611"}


@in_loop
async def test_events_are_pages_of_the_journal():
    """Events come in order, after a seq and up to a limit, and an unknown execution is E0401."""
    async with world() as w:
        execution_id = await w.start()
        view = await w.ended(execution_id)
        everything = (await w.door.get(f"{API}/executions/{execution_id}/events")).json
        assert [e["seq"] for e in everything["events"]] == list(range(1, view["last_seq"] + 1))
        assert everything["events"][0]["event"]["kind"] == "execution_started"
        assert everything["events"][-1]["event"]["kind"] == "execution_completed"
        assert everything["last_seq"] == view["last_seq"]
        page = (await w.door.get(f"{API}/executions/{execution_id}/events?after=1&limit=2")).json
        assert page["events"] == everything["events"][1:3]
        for target in ("", "/events", "/wait", "/stream"):
            reply = await w.door.get(f"{API}/executions/x000{target}")
            assert (reply.status, reply.code) == (404, "E0401"), target


@in_loop
async def test_wait_answers_when_the_time_is_over():
    """A wait whose time is over shows the execution as it is."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        reply = await w.door.get(f"{API}/executions/{execution_id}/wait?timeout_ms=50")
        assert reply.status == 200
        assert reply.json["status"] in {"running", "waiting:approval"}
        assert (await w.door.get(f"{API}/executions/{execution_id}/wait?timeout_ms=60001")).status == 400


@in_loop
async def test_pause_resume_cancel():
    """Control verbs answer with the execution as it is after them, and E0402 once it has ended."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        await _until(w, execution_id, "waiting:approval")
        base = f"{API}/executions/{execution_id}"
        assert (await w.door.post(f"{base}/pause", {"reason": "lunch"})).json["status"] == "paused"
        assert (await w.door.post(f"{base}/resume")).json["status"] == "waiting:approval"
        cancelled = await w.door.post(f"{base}/cancel", {"reason": "enough", "by": "ann"})
        assert cancelled.json["status"] == "cancelled"
        events = (await w.door.get(f"{base}/events")).json["events"]
        by_kind = {e["event"]["kind"]: e["event"] for e in events}
        assert by_kind["execution_paused"]["by"] == "local"
        assert (by_kind["execution_cancelled"]["by"], by_kind["execution_cancelled"]["reason"]) == (
            "ann",
            "enough",
        )
        again = await w.door.post(f"{base}/pause")
        assert (again.status, again.code) == (409, "E0402")
        assert (await w.door.post(f"{base}/cancel", {"by": "x" * 201})).code == "E0605"


@in_loop
async def test_a_stopping_server_begins_nothing():
    """While it stops, a start is refused with E0610; looking is still possible, and a wait ends at once."""
    async with world() as w:
        execution_id = await w.start(definition=with_tool(approval_required=True))
        await _until(w, execution_id, "waiting:approval")
        waiting = asyncio.ensure_future(w.door.get(f"{API}/executions/{execution_id}/wait?timeout_ms=60000"))
        await asyncio.sleep(0.05)
        w.service.begin_stop()
        assert (await asyncio.wait_for(waiting, 1)).json["status"] == "waiting:approval"
        reply = await w.door.post(f"{API}/executions", {"prompt": "hi", "definition": definition()})
        assert (reply.status, reply.code) == (503, "E0610")
        assert reply.header("retry-after") == "1"
        assert (await w.door.get("/health")).json["status"] == "stopping"
        assert (await w.door.get(f"{API}/executions/{execution_id}")).status == 200


async def _until(w, execution_id: str, status: str) -> None:
    async with asyncio.timeout(5):
        while (await w.door.get(f"{API}/executions/{execution_id}")).json["status"] != status:
            await asyncio.sleep(0.01)
