"""Bad input over HTTP to a real server: a coded refusal for each, nothing begun, nothing lost, nobody else harmed."""

import json
from typing import Any

import pytest

from perdure.core.errors import CODES
from tests.server.bad_input import check_error, ended, get, post, raw_exchange, send, start
from tests.server.harness import API, definition, with_tool
from tests.story.stage import Stage

TOOL = {"name": "look", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A stage whose server runs, for all of this file."""
    with Stage(tmp_path_factory.mktemp("bad"), lease_ms=1_000) as found:
        found.start_server()
        yield found
        found.stop_server()


@pytest.fixture(autouse=True)
def _unharmed(stage):
    """After each test the server answers, has begun nothing that the test did not ask for, and works."""
    before = {row["execution_id"] for row in get(stage, "/executions?limit=500")["executions"]}
    yield
    assert json.loads(stage.get("/health"))["status"] == "ok"
    after = get(stage, "/executions?limit=500")["executions"]
    stuck = [row for row in after if row["execution_id"] not in before and row["status"] == "running"]
    assert not stuck
    assert ended(stage, start(stage))["output"] == "done"


def begun(stage: Stage) -> int:
    """How many executions there are."""
    return len(get(stage, "/executions?limit=500")["executions"])


DEFINITIONS = [
    ("unknown provider", definition(model="opnai/gpt-5"), "E0201"),
    ("missing key", definition(model="openai/gpt-5-mini"), "E0202"),
    ("missing key of another provider", definition(model="anthropic/claude-sonnet-4-5"), "E0202"),
    ("model without a provider", definition(model="gpt-5"), "E0107"),
    ("unknown mock", definition(model="mock/nothing"), "E0211"),
    ("duplicate tool names", definition(tools=[TOOL, TOOL]), "E0103"),
    ("newer version", definition(v=99), "E0102"),
    ("newer version with unknown fields", definition(v=99, guardrails=[{}]), "E0102"),
    ("unknown field", definition(novelty=[]), "E0101"),
    ("unknown field of a tool", definition(tools=[TOOL | {"idempotent": True}]), "E0101"),
    ("version that is none", definition(v="one"), "E0101"),
    ("name with a slash", definition(name="a/b"), "E0104"),
    ("no name", {"model": "mock/echo"}, "E0101"),
    ("tool name with spaces", definition(tools=[TOOL | {"name": "look up"}]), "E0104"),
    ("no turns", definition(max_turns=0), "E0106"),
    ("a million turns", definition(max_turns=10**9), "E0106"),
    ("a wrong type", definition(max_turns="three"), "E0101"),
    ("a temperature of 99", definition(temperature=99), "E0106"),
    ("a schema of another type", definition(tools=[TOOL | {"input_schema": {"type": "array"}}]), "E0101"),
    ("a schema with a bad pattern", definition(output={"name": "O", "schema": {"pattern": "("}}), "E0101"),
    ("not an object", "helper", "E0101"),
]


@pytest.mark.parametrize(
    ("wrong", "code"), [(d, c) for _, d, c in DEFINITIONS], ids=[n for n, _, _ in DEFINITIONS]
)
def test_a_bad_definition_is_refused_before_anything_begins(stage: Stage, wrong: Any, code: str):
    """The same code from deploy and start. A key may be set after the deployment; without it nothing starts."""
    before, agents = begun(stage), get(stage, "/agents")
    error = check_error(
        post(stage, "/executions", {"prompt": "hi", "definition": wrong}), CODES[code][1], code
    )
    if code == "E0202":
        assert "_API_KEY" in error["fix"]
    deployed = post(stage, "/agents", {"definition": wrong})
    if code.startswith("E02"):
        assert deployed.status == 200
        check_error(post(stage, "/executions", {"prompt": "hi", "agent": "helper"}), CODES[code][1], code)
    else:
        check_error(deployed, CODES[code][1], code)
        assert get(stage, "/agents") == agents
    assert begun(stage) == before


def body_of(prompt: bytes, extra: bytes = b"") -> bytes:
    """A start whose prompt is JSON as it is given."""
    made = json.dumps(definition()).encode()
    return b'{"prompt": ' + prompt + b', "definition": ' + made + extra + b"}"


def nested(depth: int) -> bytes:
    """An array in an array."""
    return b"[" * depth + b"]" * depth


BODIES = [
    ("lone surrogate", body_of(b'"a \\ud800 b"'), "E0611"),
    ("lone surrogate in the context", body_of(b'"hi"', b', "context": {"k": "\\udfff"}'), "E0611"),
    ("lone surrogate in a key", body_of(b'"hi"', b', "context": {"\\ud800": 1}'), "E0611"),
    ("NUL", body_of(b'"a \\u0000 b"'), "E0611"),
    ("not UTF-8", body_of(b'"\xff\xfe"'), "E0611"),
    ("NaN", body_of(b'"hi"', b', "context": {"n": NaN}'), "E0605"),
    ("Infinity", body_of(b'"hi"', b', "context": {"n": -Infinity}'), "E0605"),
    ("1e400", body_of(b'"hi"', b', "context": {"n": 1e400}'), "E0605"),
    ("depth 10,000", body_of(b'"hi"', b', "context": {"n": ' + nested(10_000) + b"}"), "E0605"),
    ("depth 1,000,000", body_of(b'"hi"', b', "context": {"n": ' + nested(1_000_000) + b"}"), "E0605"),
    ("no JSON", b"hello", "E0605"),
    ("half a body", body_of(b'"hi"')[:-5], "E0605"),
    ("an array", b"[1, 2]", "E0605"),
    ("nothing", b"", "E0605"),
    ("an empty prompt", body_of(b'""'), "E0605"),
    ("a prompt of another type", body_of(b"7"), "E0605"),
    ("an unknown field", body_of(b'"hi"', b', "guardrails": []'), "E0605"),
    ("agent and definition", body_of(b'"hi"', b', "agent": "helper"'), "E0605"),
    ("an endless key", body_of(b'"hi"', b', "idempotency_key": "' + b"k" * 5_000 + b'"'), "E0605"),
    ("a time limit of nought", body_of(b'"hi"', b', "timeout_ms": 0'), "E0605"),
    ("a time limit of 2**70", body_of(b'"hi"', b', "timeout_ms": 1180591620717411303424'), "E0605"),
]


@pytest.mark.parametrize(("body", "code"), [(b, c) for _, b, c in BODIES], ids=[n for n, _, _ in BODIES])
def test_a_bad_body_is_refused(stage: Stage, body: bytes, code: str):
    """With its code, quickly, and nothing is begun."""
    before = begun(stage)
    headers = {"content-type": "application/json"}
    check_error(send(stage, "POST", f"{API}/executions", body, headers), CODES[code][1], code)
    assert begun(stage) == before


def test_large_numbers_and_odd_keys_are_kept_as_they_are(stage: Stage):
    """2**70, keys that mean something elsewhere, a million items: JSON is stored, and comes back, whole."""
    context = {
        "big": 2**70,
        "__proto__": {"__class__": 1},
        "$ref": "#/x",
        "lc": 1,
        "${x}": "#{X}",
        "ansi": "\x1b[2J",
        "many": list(range(100_000)),
    }
    answer = post(stage, "/executions", {"prompt": "hi", "definition": definition(), "context": context})
    execution_id = answer.json["execution_id"]
    assert ended(stage, execution_id)["status"] == "completed"
    events = get(stage, f"/executions/{execution_id}/events")["events"]
    assert events[0]["event"]["context"] == context


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks"])
def test_a_body_of_64_megabytes(stage: Stage, chunked: bool):
    """E0604 without reading it to the end into memory."""
    size = 64 * 1024 * 1024
    key = (stage.home / "api_key").read_text(encoding="utf-8").strip()
    head = (
        f"POST {API}/executions HTTP/1.1\r\nhost: 127.0.0.1:{stage.port}\r\nauthorization: Bearer {key}\r\n"
        "content-type: application/json\r\nconnection: close\r\n"
    )
    if chunked:
        piece = b"%x\r\n" % 1_048_576 + b" " * 1_048_576 + b"\r\n"
        request = head.encode() + b"transfer-encoding: chunked\r\n\r\n" + piece * 12
    else:
        request = head.encode() + f"content-length: {size}\r\n\r\n".encode()
    answer = raw_exchange(stage, request)
    assert b" 413 " in answer.split(b"\r\n", 1)[0], answer[:300]
    assert b'"E0604"' in answer


IDS = [
    ("GET", "/executions/xnone", "E0401"),
    ("GET", "/executions/xnone/events", "E0401"),
    ("GET", "/executions/xnone/wait", "E0401"),
    ("GET", "/executions/xnone/stream", "E0401"),
    ("POST", "/executions/xnone/cancel", "E0401"),
    ("POST", "/executions/xnone/pause", "E0401"),
    ("POST", "/executions/xnone/resume", "E0401"),
    ("GET", "/approvals/anone", "E0407"),
    ("POST", "/approvals/anone/decision", "E0407"),
    ("GET", "/agents/nobody", "E0412"),
    ("GET", "/nothing/of/that/kind", "E0606"),
    ("GET", "/executions/..%2f..%2fetc", "E0606"),
    ("GET", "/executions/%00", "E0606"),
    ("GET", "/executions/" + "x" * 5_000, "E0606"),
    ("DELETE", "/executions", "E0607"),
    ("PUT", "/executions/xnone", "E0607"),
    ("PATCH", "/approvals/anone/decision", "E0607"),
    ("GET", "/worker/poll", "E0607"),
    ("POST", "/executions/xnone", "E0607"),
]


@pytest.mark.parametrize(("method", "path", "code"), IDS)
def test_what_is_not_there_and_what_cannot_be_done(stage: Stage, method: str, path: str, code: str):
    """404 and 405, each with its own code."""
    body = b'{"decision": "approved"}' if path.endswith("/decision") else b"{}" if method == "POST" else None
    answer = send(stage, method, API + path, body)
    assert answer.status == CODES[code][1], answer.body
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["what"]


def test_a_start_of_an_agent_that_is_not_deployed(stage: Stage):
    """E0412."""
    check_error(post(stage, "/executions", {"prompt": "hi", "agent": "nobody"}), 404, "E0412")


def parked(stage: Stage) -> tuple[str, dict[str, Any]]:
    """An execution that waits for a person, and its approval."""
    execution_id = start(stage, **with_tool(approval_required=True))
    found: list[dict[str, Any]] = []
    while not found:
        found = get(stage, f"/approvals?execution_id={execution_id}")["approvals"]
    return execution_id, found[0]


DECISIONS = [
    ("surrogate in the reason", b'{"decision": "approved", "reason": "\\ud800"}', 400, "E0611"),
    ("surrogate in the arguments", b'{"decision": "approved", "arguments": {"n": "\\ud800"}}', 400, "E0611"),
    ("a third opinion", b'{"decision": "perhaps"}', 400, "E0605"),
    ("arguments that do not fit", b'{"decision": "approved", "arguments": {"n": "many"}}', 400, "E0305"),
    ("arguments of a rejection", b'{"decision": "rejected", "arguments": {"n": 1}}', 400, "E0605"),
    ("another effect", b'{"decision": "approved", "effect_hash": "00"}', 409, "E0409"),
    ("NaN", b'{"decision": "approved", "arguments": {"n": NaN}}', 400, "E0605"),
    ("nobody", b'{"decision": "approved", "by": ""}', 400, "E0605"),
    ("an unknown field", b'{"decision": "approved", "force": true}', 400, "E0605"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), [d[1:] for d in DECISIONS], ids=[d[0] for d in DECISIONS]
)
def test_a_bad_decision_decides_nothing(stage: Stage, body: bytes, status: int, code: str):
    """The approval still waits, and a good decision is taken afterwards."""
    execution_id, approval = parked(stage)
    path = f"/approvals/{approval['approval_id']}/decision"
    check_error(send(stage, "POST", API + path, body), status, code)
    assert get(stage, f"/approvals/{approval['approval_id']}")["decision"] is None
    assert post(stage, path, {"decision": "rejected", "reason": "enough"}).status == 200
    late = check_error(post(stage, path, {"decision": "approved"}), 409, "E0408")
    assert late["fields"]["decision"] == "rejected"
    assert ended(stage, execution_id)["output"] == "looked"


RESULTS = [
    ("surrogate", b'"\\ud800"', "E0611"),
    ("NaN", b"NaN", "E0605"),
    ("depth 10,000", nested(10_000), "E0605"),
    ("1e400", b"1e400", "E0605"),
    ("not UTF-8", b'"\xff"', "E0611"),
]


@pytest.mark.parametrize(("result", "code"), [r[1:] for r in RESULTS], ids=[r[0] for r in RESULTS])
def test_a_bad_result_leaves_the_task_where_it_is(stage: Stage, result: bytes, code: str):
    """It is refused; the attempt is still the worker's, who hands in something better."""
    execution_id = start(stage, **with_tool())
    poll = {"worker": "w1", "tools": ["helper.look"], "want": 1, "wait_ms": 5_000}
    (task,) = post(stage, "/worker/poll", poll).json["tasks"]
    ids = {name: task[name] for name in ("execution_id", "step", "epoch", "token")}
    good = json.dumps(poll | {"want": 0, "results": [ids | {"result": "RESULT"}]}).encode()
    path = f"{API}/worker/poll"
    check_error(send(stage, "POST", path, good.replace(b'"RESULT"', result)), CODES[code][1], code)
    assert send(stage, "POST", path, good.replace(b'"RESULT"', b'"fine"')).json["receipts"] == [None]
    assert ended(stage, execution_id)["status"] == "completed"


def test_results_of_attempts_that_are_not_ones_own(stage: Stage):
    """A forged token, another worker, another epoch: each gets its code, and the right one is taken."""
    execution_id = start(stage, **with_tool())
    poll = {"worker": "w1", "tools": ["helper.look"], "want": 1, "wait_ms": 5_000}
    (task,) = post(stage, "/worker/poll", poll).json["tasks"]
    ids = {name: task[name] for name in ("execution_id", "step", "epoch", "token")}
    results = [
        ids | {"token": "forged", "result": 1},
        ids | {"epoch": 2, "result": 1},
        ids | {"step": "t9.c9", "result": 1},
        ids | {"result": "mine"},
        ids | {"result": "mine again"},
    ]
    answer = post(stage, "/worker/poll", poll | {"want": 0, "results": results})
    codes = [receipt and receipt["code"] for receipt in answer.json["receipts"]]
    assert codes == ["E0311", "E0311", "E0311", None, "E0307"]
    other = post(stage, "/worker/poll", poll | {"worker": "w2", "want": 0, "results": [ids | {"result": 1}]})
    assert other.json["receipts"][0]["code"] == "E0311"
    assert ended(stage, execution_id)["status"] == "completed"


@pytest.mark.parametrize(
    "wrong",
    [{"worker": "w\n1"}, {"worker": ""}, {"want": -1}, {"want": 10**9}, {"tools": "look"}],
)
def test_a_bad_poll(stage: Stage, wrong: dict[str, Any]):
    """E0605, and no task is taken."""
    poll = {"worker": "w1", "tools": ["helper.look"], "want": 1, "wait_ms": 0} | wrong
    answer = post(stage, "/worker/poll", poll)
    assert answer.json.get("error", {}).get("code") == "E0605", answer.body


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_body_that_says_it_is_something_else(stage: Stage, content_type: str):
    """E0608."""
    answer = send(stage, "POST", f"{API}/executions", body_of(b'"hi"'), {"content-type": content_type})
    check_error(answer, 415, "E0608")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "status=sleeping", "nothing=1", "limit=" + "9" * 5_000]
)
def test_a_bad_query(stage: Stage, query: str):
    """E0605 says which parameter."""
    check_error(send(stage, "GET", f"{API}/executions?{query}"), 400, "E0605")
