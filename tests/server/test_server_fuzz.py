"""Whatever is sent, the server answers with a good answer or a coded refusal, never with an error of its own (S-29)."""

import asyncio
import copy
import json
from typing import Any
from urllib.parse import quote

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from perdure.server.table import ROUTES
from tests.server.harness import API, definition, with_tool, world

WITH_BODY = sorted((r for r in ROUTES if r.body is not None), key=lambda r: r.name)
WITH_QUERY = sorted((r for r in ROUTES if r.method == "GET" and not r.streams), key=lambda r: r.name)

QUICK = [Phase.explicit, Phase.generate]  # an example that breaks the server is short enough as it is

GOOD: dict[str, Any] = {
    "plan_agent": {"definition": with_tool(retry={"max_attempts": 2})},
    "deploy_agent": {"definition": definition(output={"name": "O", "schema": {"type": "object"}})},
    "start_execution": {
        "prompt": "hi",
        "definition": with_tool(),
        "context": {"a": 1},
        "session_id": "s",
        "idempotency_key": "k",
        "timeout_ms": 1_000,
        "media": [{"kind": "media", "media_type": "image/png", "url": "https://x.example/a.png"}],
    },
    "decide_approval": {"decision": "approved", "arguments": {"n": 1}, "effect_hash": "0", "by": "b"},
    "cancel_execution": {"reason": "r", "by": "b"},
    "stop_execution": {"reason": "r", "by": "b"},
    "say_to_execution": {"text": "t", "id": "m1", "by": "b", "mode": "enqueue"},
    "pause_execution": {"reason": "r", "by": "b"},
    "resume_execution": {"reason": "r", "by": "b"},
    "retry_execution": {"by": "b", "idempotency_key": "k"},
    "rerun_execution": {"plan": "same", "prompt": "p", "context": {"a": 1}, "definition": definition()},
    "fork_execution": {
        "at": "t1.c0",
        "edit": {
            "result": {"n": 1},
            "calls": [{"tool": "look", "arguments": {"n": 1}}],
            "model": "mock/echo",
            "max_turns": 3,
        },
    },
    "replay_execution": {"model": "mock/echo", "instructions": "i", "on_missing": "ask", "by": "b"},
    "worker_poll": {"worker": "w", "tools": ["helper.look"], "want": 2, "wait_ms": 0, "results": []},
    "worker_heartbeat": {"worker": "w", "leases": [{"execution_id": "x", "step": "s", "epoch": 1}]},
}

texts = st.text(max_size=20) | st.sampled_from(
    ["\0", "\ud800", "😀", "a" * 5_000, "__proto__", "$ref", "../..", "'; --"]
)
numbers = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2**63, -(2**70), 10**400])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=120, phases=QUICK)
def test_changed_bodies_never_break_the_server(data):
    """A good body with one thing replaced, anywhere in it, is accepted or refused with a code."""
    spec = data.draw(st.sampled_from(WITH_BODY))
    body = copy.deepcopy(GOOD[spec.name])
    place, key = data.draw(st.sampled_from(list(_places(body))))
    place[key] = data.draw(values)
    _answers(spec, json.dumps(body).encode())


@given(st.sampled_from(WITH_BODY), st.binary(max_size=60) | values.map(lambda v: json.dumps(v).encode()))
@settings(max_examples=60, phases=QUICK)
def test_random_bodies_never_break_the_server(spec, body):
    """Random bytes and random JSON are refused with a code."""
    _answers(spec, body)


@given(
    st.sampled_from(WITH_QUERY),
    st.dictionaries(st.sampled_from(["status", "agent", "limit", "after", "x"]), texts | numbers),
)
@settings(max_examples=60, phases=QUICK)
def test_random_queries_never_break_the_server(spec, query):
    """Random query parameters are accepted or refused with a code."""
    encoded = "&".join(f"{k}={quote(str(v).encode('utf-8', 'surrogatepass'))}" for k, v in query.items())
    _answers(spec, None, f"?timeout_ms=1&{encoded}" if spec.name == "wait_execution" else f"?{encoded}")


def _answers(spec, body: bytes | None, query: str = "") -> None:
    async def inside() -> None:
        async with world() as w:
            waiting = await w.start(definition=with_tool(approval_required=True))
            path = spec.path.format(execution_id=waiting, approval_id="a1", name="helper") + query
            reply = await w.door.send(spec.method, path, body)
            assert reply.status < 500, reply.body
            if reply.status >= 400:
                assert reply.code.startswith("E0")
            elif spec.name == "start_execution":
                # What was accepted can be shown again.
                seen = await w.door.get(f"{API}/executions/{reply.json['execution_id']}/events")
                assert seen.status == 200
            listed = await w.door.get(f"{API}/executions")
            assert listed.status == 200

    async def bounded() -> None:
        # Also the close at the end: a server that does not stop is as broken as one that does not answer.
        async with asyncio.timeout(10):
            await inside()

    asyncio.run(bounded())


def _places(value: Any):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
