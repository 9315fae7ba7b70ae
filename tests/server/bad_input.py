"""What the tests of bad input share: a real server process, and a client that sends whatever bytes it is given."""

import contextlib
import http.client
import json
import socket
from typing import Any, NamedTuple

from tests.server.harness import API, definition
from tests.story.stage import Stage, until


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(
    stage: Stage, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    """Send a request as it is; JSON is only what the body may be said to be."""
    key = (stage.home / "api_key").read_text(encoding="utf-8").strip()
    connection = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=60)
    sent = {"authorization": f"Bearer {key}"} | ({"content-type": "application/json"} if body else {})
    try:
        connection.request(method, path, body, sent | (headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def post(stage: Stage, path: str, body: Any) -> Answer:
    """POST a JSON value."""
    return send(stage, "POST", API + path, json.dumps(body).encode())


def get(stage: Stage, path: str) -> Any:
    """GET what is there."""
    answer = send(stage, "GET", API + path)
    assert answer.status == 200, answer.body
    return answer.json


def start(stage: Stage, prompt: str = "hello", **changes: Any) -> str:
    """Start an execution that ends by itself; its id."""
    answer = post(stage, "/executions", {"prompt": prompt, "definition": definition(**changes)})
    assert answer.status == 200, answer.body
    return str(answer.json["execution_id"])


def ended(stage: Stage, execution_id: str) -> Any:
    """The execution once it has ended."""
    return until(
        lambda: (
            (found := get(stage, f"/executions/{execution_id}/wait?timeout_ms=5000"))["status"]
            in ("completed", "failed", "cancelled")
            and found
        ),
        "the end of an execution",
    )


def check_error(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """A refusal with this code that says what is wrong, and why or what to do; the error."""
    assert answer.status == status, answer.body[:2_000]
    error = answer.json["error"]
    assert error["code"] == code, error
    assert error["slug"]
    assert error["what"]
    says_the_rule = any(word in error["what"] for word in (" must ", " needs ", " only", " longer than "))
    assert says_the_rule or any(error.get(k) for k in ("fix", "why", "where")), f"it helps nobody: {error}"
    return error


def raw_exchange(stage: Stage, request: bytes) -> bytes:
    """Send bytes over a bare socket, and read until the server closes; it may stop to listen in the middle."""
    received = b""
    with socket.create_connection(("127.0.0.1", stage.port), timeout=30) as bare:
        with contextlib.suppress(ConnectionError):
            bare.sendall(request)
        with contextlib.suppress(ConnectionError):
            while piece := bare.recv(65_536):
                received += piece
    return received
