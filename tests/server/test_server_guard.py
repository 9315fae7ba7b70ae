"""The guard and the door: key, host, origin, limits, on every route and method (S-01, S-02, S-25, S-26, S-27)."""

import asyncio

import pytest

from perdure.core.errors import CODES, JournalError
from perdure.server.deps import Settings
from perdure.server.keys import make_key
from perdure.server.table import ROUTES
from tests.server.harness import API, Door, definition, in_loop, world

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "NONSENSE")
PATHS = sorted({r.path.replace("{", "").replace("}", "") for r in ROUTES})
OTHER_PATHS = [
    "/",
    "/docs",
    "/favicon.ico",
    "/index.html",
    "/healthz",
    "/health/",
    "//health",
    "/api/v1",
    "/../etc",
]
OPEN = {("GET", "/health")}


@in_loop
async def test_s01_nothing_answers_without_a_key():
    """Every route and every other path, with every method and no key, is refused, /health alone excepted."""
    async with world() as w:
        for path in [*PATHS, *OTHER_PATHS]:
            for method in METHODS:
                reply = await w.door.send(method, path, key=False)
                if path == "/health":
                    assert reply.status == (200 if method == "GET" else 405), (method, path)
                else:
                    assert (reply.status, reply.code) == (401, "E0601"), (method, path)
                    assert reply.header("www-authenticate") == "Bearer"


def test_s01_only_health_is_open():
    """The list of routes that need no key is this one."""
    assert {(r.method, r.path) for r in ROUTES if r.open} == OPEN


EVIL = [
    ({"host": "evil.test"}, "E0602"),
    ({"host": "evil.test:6767"}, "E0602"),
    ({"host": "127.0.0.1.evil.test"}, "E0602"),
    ({"host": "localhost.evil.test:6767"}, "E0602"),
    ({"host": "127.0.0.1:6767@evil.test"}, "E0602"),
    ({"host": "127.0.0.1:67x"}, "E0602"),
    ({"host": "127.0.0.1:"}, "E0602"),
    ({"host": "[::1].evil.test"}, "E0602"),
    ({"host": "0.0.0.0:6767"}, "E0602"),
    ({"host": ""}, "E0602"),
    ({"host": None}, "E0602"),
    ({"origin": "http://evil.test"}, "E0603"),
    ({"origin": "null"}, "E0603"),
    ({"origin": ""}, "E0603"),
    ({"origin": "http://127.0.0.1:3000"}, "E0603"),
    ({"origin": "http://localhost:6767"}, "E0603"),
    ({"origin": "http://127.0.0.1:6767.evil.test"}, "E0603"),
    ({"sec-fetch-site": "cross-site"}, "E0603"),
    ({"sec-fetch-site": "same-site"}, "E0603"),
    ({"sec-fetch-site": "nonsense"}, "E0603"),
]


@pytest.mark.parametrize(("headers", "code"), EVIL)
@in_loop
async def test_s02_foreign_hosts_and_origins_are_refused(headers, code):
    """With another host or origin every route refuses every method, the right key or not; streams and health too."""
    async with world() as w:
        execution_id = await w.start()
        for path in [*PATHS, f"{API}/executions/{execution_id}/stream"]:
            for method in METHODS:
                for key in (True, False):
                    reply = await w.door.send(method, path, headers=headers, key=key)
                    assert (reply.status, reply.code) == (403, code), (method, path)
                    assert not [k for k, _ in reply.headers if k.startswith("access-control-")]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost"},
        {"host": "LOCALHOST:1"},
        {"host": "[::1]:6767"},
        {"host": "127.0.0.1"},
        {"host": "agents.example:8443"},
        {"host": "[fd00::1]"},
        {"origin": "http://127.0.0.1:6767"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
@in_loop
async def test_our_own_hosts_and_origin_pass(headers):
    """This machine's names, the configured ones and the server's own origin pass, and no answer allows another."""
    async with world(Settings(allowed_hosts=("Agents.example", "fd00::1"))) as w:
        reply = await w.door.get(f"{API}/workers", headers=headers)
        assert reply.status == 200
        assert not [k for k, _ in reply.headers if k.startswith("access-control-")]


@pytest.mark.parametrize("name", [b"host", b"origin", b"authorization", b"content-length"])
@in_loop
async def test_a_doubled_header_is_refused(name):
    """Two Host, Origin, key or length headers are refused: two readers could see two requests."""
    async with world() as w:
        value = dict(
            w.door.scope("GET", "/", {"origin": "http://127.0.0.1:6767"}, length=0, key=True)["headers"]
        )[name]
        extra = [(name, value)] * (2 if name == b"origin" else 1)
        reply = await w.door.get(f"{API}/workers", more_headers=extra)
        assert (reply.status, reply.code) == (400, "E0605")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic bG9jYWw6",
        "Bearer " + make_key(b"\1" * 32),
        "Bearer " + "x" * 10_000,
        "Bearer \xff\xfe",
    ],
)
@in_loop
async def test_wrong_keys(authorization):
    """A header that is not the key is 401, whatever it is."""
    async with world() as w:
        reply = await w.door.get(f"{API}/workers", headers={"authorization": authorization}, key=False)
        assert (reply.status, reply.code) == (401, "E0601")
        assert "pdr_" not in reply.body.decode()


@in_loop
async def test_s25_wrong_keys_are_slowed_down_and_the_right_one_passes():
    """After a burst of wrong keys they are answered 429; the right key still passes at once."""
    async with world() as w:
        wrong = Door(w.app, make_key(b"\1" * 32))
        codes = [(await wrong.get(f"{API}/workers")).code for _ in range(40)]
        assert codes[:20] == ["E0601"] * 20
        assert codes[-1] == "E0615"
        assert (await w.door.get(f"{API}/workers")).status == 200
        assert (await w.door.get(f"{API}/workers", key=False)).code == "E0601"


@in_loop
async def test_s26_bodies_have_a_limit():
    """A body over the limit is refused by its length, and, without one, after so many bytes of its pieces."""
    async with world(Settings(max_body_bytes=1_000)) as w:
        target = f"{API}/executions"
        for headers in ({"content-length": "1001"}, {"content-length": "9" * 30}):
            reply = await w.door.post(target, b"{}", headers=headers)
            assert (reply.status, reply.code) == (413, "E0604")
            assert reply.header("connection") == "close"
        assert (await w.door.post(target, b"{}", headers={"content-length": "many"})).code == "E0605"
        lying = await w.door.post(target, b" " * 2_000, headers={"content-length": "10"})
        assert lying.code == "E0604"
        endless = await w.door.post(target, b"", pieces=[b" " * 600] * 1_000)
        assert endless.code == "E0604"
        joined = await w.door.post(target, b"}", pieces=[b'{"prompt":', b'""'])
        assert joined.code == "E0605"
        assert "definition" in joined.json["error"]["what"]


@in_loop
async def test_s26_a_body_that_does_not_arrive():
    """A body that stays away is given up after its time; a client that hangs up gets no answer."""
    async with world(Settings(body_timeout_s=0.05)) as w:
        scope = w.door.scope(
            "POST", f"{API}/executions", {"content-type": "application/json"}, length=9, key=True
        )
        sent = []

        async def never():
            await asyncio.sleep(10)

        async def send(message):
            sent.append(message)

        await w.app(scope, never, send)
        assert sent[0]["status"] == 400
        sent.clear()

        async def gone():
            return {"type": "http.disconnect"}

        await w.app(scope, gone, send)
        assert sent == []


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/jsonx"},
        {"content-type": None},
        {"content-encoding": "gzip"},
    ],
)
@in_loop
async def test_s26_only_plain_json_is_read(headers):
    """A body that is not declared as plain JSON is E0608: no form, and nothing compressed."""
    async with world() as w:
        reply = await w.door.post(
            f"{API}/executions", {"prompt": "hi", "definition": definition()}, headers=headers
        )
        assert (reply.status, reply.code) == (415, "E0608")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"']
)
@in_loop
async def test_the_usual_ways_to_say_json(content_type):
    """JSON with its charset, in any case, is JSON."""
    async with world() as w:
        body = {"prompt": "hi", "definition": definition()}
        reply = await w.door.post(f"{API}/executions", body, headers={"content-type": content_type})
        assert reply.status == 200


START = b'{"definition":{"name":"helper","model":"mock/script"},"prompt":"hi"'
HOSTILE = [
    (b"", "E0605"),
    (b"nonsense", "E0605"),
    (b"[]", "E0605"),
    (b"null", "E0605"),
    (b'{"prompt":"hi"}{', "E0605"),
    (START + b',"context":{"a":NaN}}', "E0605"),
    (START + b',"context":{"a":Infinity}}', "E0605"),
    (START + b',"context":{"a":1e999}}', "E0605"),
    (START + b',"context":{"a":' + b"9" * 5_000 + b"}}", "E0605"),
    (START + b',"context":{"a":' + b"[" * 90 + b"]" * 90 + b"}}", None),
    (START + b',"context":{"a":' + b"[" * 101 + b"]" * 101 + b"}}", "E0605"),
    (START + b',"context":{"a":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}}", "E0605"),
    (START + b',"context":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "E0605"),
    (START + b',"context":{"a":"' + b"[" * 5_000 + b'\\""}}', None),
    (START + b',"context":{"a":[' + b"[]," * 5_000 + b"[]]}}", None),
    (START + b',"context":{"a":"\\ud800"}}', "E0611"),
    (START + b',"context":{"a":"\\udc00 tail"}}', "E0611"),
    (START + b',"context":{"\\ud83d\\ude00":1}}', None),
    (START + b',"context":{"a":"\xff"}}', "E0611"),
    (START + b',"context":{"a":"\xed\xa0\x80"}}', "E0611"),
    (START + b',"context":{"a":"\\u0000"}}', "E0611"),
    (START + b',"context":{"\\u0000":1}}', "E0611"),
    (START + b',"context":{"a":"\\\\u0000"}}', None),
    (START + b',"context":{"a":"\\\\\\u0000"}}', "E0611"),
    (START + b',"session_id":"\\u0000"}', "E0611"),
    (START + b',"timeout_ms":1.5}', "E0605"),
    (START + b',"timeout_ms":' + b"9" * 400 + b"}", "E0605"),
    (b"\xef\xbb\xbf" + START + b"}", "E0605"),
]


@pytest.mark.parametrize(("body", "code"), HOSTILE)
@in_loop
async def test_hostile_json_is_never_an_error_of_the_server(body, code):
    """Surrogates, NUL, NaN, huge numbers and deep nesting are refused with a code, or accepted: never 500."""
    async with world() as w:
        reply = await w.door.post(f"{API}/executions", body)
        if code is None:
            assert reply.status == 200, reply.body
            seen = await w.door.get(f"{API}/executions/{reply.json['execution_id']}/events")
            assert seen.status == 200
        else:
            assert reply.code == code, reply.body
            assert reply.status == CODES[code][1]


@in_loop
async def test_unknown_addresses_and_methods_have_codes():
    """What is not there is E0606; a method that an address does not take is E0607 and says which it takes."""
    async with world() as w:
        for path in (
            "/",
            "/api/v1/nothing",
            "/health/",
            "/api/v1/executions/",
            "/api/v1/executions/%41\x00b/events",
        ):
            reply = await w.door.get(path)
            assert (reply.status, reply.code) == (404, "E0606"), path
        reply = await w.door.send("DELETE", f"{API}/executions")
        assert (reply.status, reply.code, reply.header("allow")) == (405, "E0607", "GET, POST")


@in_loop
async def test_every_answer_has_the_same_headers():
    """Good answers and errors carry the security headers, the wire version and the server's version."""
    async with world() as w:
        execution_id = await w.start()
        await w.ended(execution_id)
        replies = [
            await w.door.get("/health"),
            await w.door.get("/metrics"),
            await w.door.get("/openapi.json"),
            await w.door.get("/nothing"),
            await w.door.get(f"{API}/workers", key=False),
            await w.door.get(f"{API}/executions/x1"),
            await w.door.get(f"{API}/executions/{execution_id}/stream"),
            await w.door.get("/health", headers={"host": "evil.test"}),
        ]
        for reply in replies:
            names = [k for k, _ in reply.headers]
            assert len(names) == len(set(names))
            assert reply.header("x-content-type-options") == "nosniff"
            assert reply.header("cache-control") == "no-store"
            assert reply.header("perdure-wire") == "1"
            assert reply.header("perdure-version")
            assert "default-src 'none'" in reply.header("content-security-policy")


class _Broken:
    """Executions whose every verb fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str):
        async def fail(*_args, **_kwargs):
            raise self._error

        return fail


@in_loop
async def test_s27_unexpected_errors_say_nothing_but_an_id(caplog):
    """What nobody foresaw is E0609 with an id that is in the log; the client sees no text of the error."""
    async with world(executions=lambda _: _Broken(RuntimeError("secret /var/lib/x SELECT"))) as w:
        reply = await w.door.get(f"{API}/executions/x1")
        assert (reply.status, reply.code) == (500, "E0609")
        text = reply.body.decode()
        assert not [
            word for word in ("secret", "/var", "SELECT", "Traceback", "RuntimeError") if word in text
        ]
        request_id = reply.json["error"]["fields"]["request_id"]
        record = next(r for r in caplog.records if getattr(r, "request_id", None) == request_id)
        assert record.exc_info is not None


@in_loop
async def test_s27_storage_errors_name_no_files(caplog):
    """A storage error keeps its code and what to do, and its place goes to the log only."""
    error = JournalError(
        "E0501", "The disk is full", where="/var/lib/x.db", why="pwrite 28", fix="Free some space."
    )
    async with world(executions=lambda _: _Broken(error), fault=error) as w:
        reply = await w.door.get(f"{API}/executions/x1")
        assert (reply.status, reply.code) == (503, "E0501")
        assert reply.json["error"]["fix"] == "Free some space."
        assert b"/var/lib" not in reply.body
        assert b"pwrite" not in reply.body
        request_id = reply.json["error"]["fields"]["request_id"]
        assert any(
            getattr(r, "request_id", None) == request_id and "/var/lib" in r.error for r in caplog.records
        )
        assert (await w.door.get("/health", key=False)).json["status"] == "storage_unavailable"


@in_loop
async def test_websockets_are_closed():
    """The server speaks no WebSocket: an attempt is closed before it is accepted."""
    async with world() as w:
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "websocket.connect"}

        await w.app({"type": "websocket", "path": "/health", "headers": []}, receive, send)
        assert [m["type"] for m in sent] == ["websocket.close"]
