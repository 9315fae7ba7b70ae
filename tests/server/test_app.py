"""The composition root: one data directory, opened in process and as a server of its own (S-03, S-16, S-25)."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure.app import AppConfig, open_app
from perdure.core.errors import ApiError, DefinitionError, JournalError
from tests.server.harness import API, Door, definition, in_loop, with_tool

SERVE = (
    "import os, sys; from perdure.app import AppConfig, serve; from perdure.core.errors import PerdureError\n"
    "try: serve(AppConfig.from_env(os.environ), os.environ)\n"
    "except PerdureError as error: sys.exit(str(error))"
)


class Server:
    """A server process on a data directory."""

    def __init__(self, home: Path, **environ: str) -> None:
        self.home = home
        self.log = (home.parent / f"{home.name}.log").open("ab")
        keep = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            env=keep | {"PERDURE_HOME": str(home), "PERDURE_PORT": "0", **environ},
            stdout=self.log,
            stderr=self.log,
        )

    def ready(self) -> dict[str, Any]:
        """What server.json says, once the server listens."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            with contextlib.suppress(FileNotFoundError):
                told = json.loads((self.home / "server.json").read_text())
                if told["pid"] == self.process.pid:
                    return told
            time.sleep(0.02)
        raise AssertionError(self.text())

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One request; the decoded answer."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(
                *(method, path, None if body is None else json.dumps(body), self.headers() | (headers or {}))
            )
            reply = connection.getresponse()
            raw = reply.read()
            assert reply.status == 200, raw
            return json.loads(raw)

    def connect(self) -> http.client.HTTPConnection:
        address = self.ready()["url"].removeprefix("http://")
        return http.client.HTTPConnection(address, timeout=10)

    def headers(self) -> dict[str, str]:
        key = (self.home / "api_key").read_text().strip()
        return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def text(self) -> str:
        return (self.home.parent / f"{self.home.name}.log").read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(10)
        self.log.close()
        return status


@contextlib.contextmanager
def running(home: Path, **environ: str):
    """A server that is killed at the end if it is still there."""
    home.mkdir(exist_ok=True)
    server = Server(home, **environ)
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)


@in_loop
async def test_open_close_and_open_again(tmp_path):
    """A data directory is made for its owner, opened by one process, and everything is there the next time."""
    home = tmp_path / "new" / "home"
    config = AppConfig(data_dir=home)
    app = await open_app(config, environ={})
    try:
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert (home / "api_key").read_text().strip() == app.api_key
        door = Door(app.asgi, app.api_key)
        body = {"prompt": "hi", "definition": with_tool()}
        execution_id = (await door.post(f"{API}/executions", body)).json["execution_id"]
        polled = await door.post(
            f"{API}/worker/poll", {"worker": "w", "tools": ["helper.look"], "wait_ms": 5_000}
        )
        task = polled.json["tasks"][0]
        with pytest.raises(JournalError) as caught:
            await open_app(config, environ={})
        assert caught.value.code == "E0502"
    finally:
        await app.close()

    app = await open_app(config, environ={})
    try:
        # The token was derived, not stored: the worker hands its result to the next server.
        door = Door(app.asgi, app.api_key)
        result = {k: task[k] for k in ("execution_id", "step", "epoch", "token")} | {"result": 1}
        reply = await door.post(
            f"{API}/worker/poll", {"worker": "w", "tools": [], "want": 0, "results": [result]}
        )
        assert reply.json["receipts"] == [None]
        view = (await door.get(f"{API}/executions/{execution_id}/wait")).json
        assert view["status"] == "completed"
    finally:
        await app.close()


@in_loop
async def test_a_damaged_key_file_opens_nothing(tmp_path):
    """With a damaged key the directory is refused before anything runs, and may be opened once it is repaired."""
    config = AppConfig(data_dir=tmp_path / "home")
    app = await open_app(config, environ={})
    await app.close()
    (config.data_dir / "api_key").chmod(0o644)
    with pytest.raises(ApiError) as caught:
        await open_app(config, environ={})
    assert caught.value.code == "E0613"
    (config.data_dir / "api_key").chmod(0o600)
    app = await open_app(config, environ={})
    await app.close()


@in_loop
async def test_closing_ends_streams_and_waits(tmp_path):
    """Closing the application in process closes its streams and answers its waits first."""
    app = await open_app(AppConfig(data_dir=tmp_path), environ={})
    door = Door(app.asgi, app.api_key)
    body = {"prompt": "hi", "definition": with_tool(approval_required=True)}
    execution_id = (await door.post(f"{API}/executions", body)).json["execution_id"]
    waiting = asyncio.ensure_future(door.get(f"{API}/executions/{execution_id}/wait?timeout_ms=60000"))
    async with door.stream(f"{API}/executions/{execution_id}/stream") as reader:
        await reader.next()
        await asyncio.wait_for(app.close(), 3)
        assert (await asyncio.wait_for(waiting, 1)).status == 200
        assert "end" not in [e["event"] for e in await reader.rest()]


def test_settings_from_the_environment():
    """Each variable has its place, and none has a default of the data directory's."""
    config = AppConfig.from_env(
        {
            "PERDURE_HOME": "/data",
            "PERDURE_HOST": "::1",
            "PERDURE_PORT": "0",
            "PERDURE_LEASE_MS": "700",
            "PERDURE_ALLOWED_HOSTS": "a.example, b.example,",
            "PERDURE_INSECURE_BIND": "1",
            "PERDURE_FAULT": "after_commit",
        }
    )
    assert config == AppConfig(
        data_dir=Path("/data"),
        host="::1",
        port=0,
        lease_ms=700,
        allowed_hosts=("a.example", "b.example"),
        insecure_bind=True,
        fault="after_commit",
    )
    plain = AppConfig.from_env({})
    assert (plain.host, plain.port, plain.lease_ms, plain.fault) == ("127.0.0.1", 6767, 5_000, None)
    assert plain.data_dir == Path.home() / ".perdure"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "x"), ("PORT", "70000"), ("PORT", "-1"), ("LEASE_MS", "0"), ("LEASE_MS", "1e9"), ("PORT", "٣")],
)
def test_wrong_settings_are_named(name, value):
    """A number that is none, or out of range, is E0106 and says which."""
    with pytest.raises(DefinitionError) as caught:
        AppConfig.from_env({f"PERDURE_{name}": value})
    assert caught.value.code == "E0106"
    assert name.lower() in str(caught.value).lower()


def test_a_server_from_start_to_stop(tmp_path):
    """Port 0 works, server.json says where, a stop is clean, and the log is JSON lines without the key."""
    home = tmp_path / "home"
    with running(home) as server:
        told = server.ready()
        assert told.keys() == {"pid", "url", "version", "started_at_ms", "gives_way"}
        assert told["url"].startswith("http://127.0.0.1:")
        assert server.call("GET", "/health")["status"] == "ok"
        started = server.call("POST", f"{API}/executions", {"prompt": "hi", "definition": definition()})
        assert server.call("GET", f"{API}/executions/{started['execution_id']}/wait")["status"] == "completed"
        key = (home / "api_key").read_text().strip()
        assert server.end() == 0
        assert not (home / "server.json").exists()
        lines = [json.loads(line) for line in server.text().splitlines()]
        assert [line["event"] for line in lines if line["logger"] == "perdure.server"] == [
            "listening",
            "stopped",
        ]
        assert key not in server.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_quickly_with_connections_open(tmp_path, number):
    """Each of both signals ends the process within three seconds, with a stream and an idle connection open."""
    with running(tmp_path / "home") as server:
        body = {"prompt": "hi", "definition": with_tool(approval_required=True)}
        execution_id = server.call("POST", f"{API}/executions", body)["execution_id"]
        with contextlib.closing(server.connect()) as stream, contextlib.closing(server.connect()) as idle:
            stream.request("GET", f"{API}/executions/{execution_id}/stream", headers=server.headers())
            reply = stream.getresponse()
            assert reply.readline() == b"retry: 1000\n"
            idle.connect()
            begun = time.monotonic()
            assert server.end(number) == 0
            assert time.monotonic() - begun < 3
            reply.close()
        assert "rror" not in server.text()


def _read_stream(server: Server, execution_id: str, after: int, *, most: int | None = None) -> list[int]:
    """Ids of the stream's events until its end, or until *most* were read."""
    with contextlib.closing(server.connect()) as connection:
        headers = server.headers() | {"Last-Event-ID": str(after)}
        connection.request("GET", f"{API}/executions/{execution_id}/stream", headers=headers)
        reply = connection.getresponse()
        seen: list[int] = []
        while (line := reply.readline()) and line != b"event: end\n" and len(seen) != most:
            if line.startswith(b"id: "):
                seen.append(int(line[4:]))
        reply.close()
        return seen


def test_a_stream_goes_on_over_a_killed_server(tmp_path):
    """Killed in the middle and started again, the server sends the rest: no gap, no duplicate."""
    home = tmp_path / "home"
    with running(home) as server:
        body = {"prompt": "hi", "definition": with_tool()}
        execution_id = server.call("POST", f"{API}/executions", body)["execution_id"]
        seen = _read_stream(server, execution_id, 0, most=3)
        assert seen == [1, 2, 3]
        server.end(signal.SIGKILL)
        assert (home / "server.json").exists()
    with running(home) as server:
        poll = {"worker": "w", "tools": ["helper.look"], "wait_ms": 10_000}
        task = server.call("POST", f"{API}/worker/poll", poll)["tasks"][0]
        result = {k: task[k] for k in ("execution_id", "step", "epoch", "token")} | {"result": 1}
        done = {"worker": "w", "tools": [], "want": 0, "results": [result]}
        assert server.call("POST", f"{API}/worker/poll", done)["receipts"] == [None]
        seen += _read_stream(server, execution_id, seen[-1])
        last = server.call("GET", f"{API}/executions/{execution_id}")["last_seq"]
        assert seen == list(range(1, last + 1))


def test_a_second_server_on_the_directory_is_refused(tmp_path):
    """Another server on the same data directory ends with E0502 and leaves the first one's file alone."""
    home = tmp_path / "home"
    with running(home) as first:
        told = first.ready()
        second = Server(home)
        assert second.process.wait(20) == 1
        second.log.close()
        assert "[E0502]" in second.text()
        assert json.loads((home / "server.json").read_text()) == told
        assert first.call("GET", "/health")["status"] == "ok"


def test_a_busy_port_and_an_open_bind_end_with_their_codes(tmp_path):
    """A port in use, and an address beyond this machine, end the start with a clear error."""
    with running(tmp_path / "home") as first:
        port = first.ready()["url"].rpartition(":")[2]
        for environ, code, words in (
            ({"PERDURE_PORT": port}, "E0614", port),
            ({"PERDURE_HOST": "0.0.0.0"}, "E0612", "0.0.0.0"),
        ):
            with running(tmp_path / code, **environ) as other:
                assert other.process.wait(20) == 1
                assert f"[{code}]" in other.text()
                assert words in other.text()
                assert "Traceback" not in other.text()


def test_an_armed_crash_point_ends_the_process(tmp_path):
    """PERDURE_FAULT makes the server die at that point as if it were killed."""
    with running(tmp_path / "home", PERDURE_FAULT="after_commit") as server:
        server.ready()
        with (
            contextlib.closing(server.connect()) as connection,
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            body = json.dumps({"prompt": "hi", "definition": definition()})
            connection.request("POST", f"{API}/executions", body, server.headers())
            connection.getresponse().read()
        assert server.process.wait(10) == 137
