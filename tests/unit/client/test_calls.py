"""Calls: what is repeated and for how long, and how errors come out."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from perdure.client.api import ApiClient
from perdure.client.transport import ConnectionLostError, HttpTransport, Reply
from perdure.clock import SystemClock
from perdure.core.definition import AgentDefinition
from perdure.core.errors import ApiError, ClientError, ExecutionError
from perdure.wire.types import ControlBody, DecisionBody, StartBody

LOST = ConnectionLostError("reset")
REFUSED = ConnectionLostError("refused", refused=True)
STARTED = {"execution_id": "x1", "agent": "a", "plan_hash": "h", "created": True, "worker_tools": []}


def error(code: str, status: int) -> tuple[int, Any]:
    """An error answer."""
    return status, {"error": {"code": code, "what": "no", "fix": "do"}}


class Scripted:
    """A transport that answers from a list; the last answer is given for ever."""

    def __init__(self, *answers: ConnectionLostError | tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []
        self.targets: list[str] = []
        self.headers: Mapping[str, str] = {}

    @property
    def address(self) -> str:
        return "http://test"

    async def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        self.headers = headers
        self.targets.append(f"{method} {target}")
        self.bodies.append(msgspec.json.decode(body) if body else None)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ConnectionLostError):
            raise answer
        status, content = answer
        raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
        return Reply(status, {"perdure-wire": "1"}, raw)

    def stream(self, *_: Any) -> Any:
        raise AssertionError

    def twin(self) -> "Scripted":
        return self

    async def aclose(self) -> None:
        pass


def api(transport: Scripted, **options: Any) -> ApiClient:
    """A client with a key and little patience."""
    return ApiClient(transport, SystemClock(), **({"patience_s": 0.3, "api_key": "k"} | options))


async def test_a_start_is_repeated_under_one_key():
    """A start without a key is given one, the same in each try, so that a repeated start is one execution."""
    transport = Scripted(LOST, error("E0610", 503), REFUSED, (200, STARTED))
    answer = await api(transport, patience_s=5).start(StartBody("hi", agent="a"))
    assert answer.execution_id == "x1"
    assert len(transport.bodies) == 4
    assert len({b["idempotency_key"] for b in transport.bodies}) == 1
    assert transport.headers["authorization"] == "Bearer k"


async def test_a_users_key_is_kept():
    """The key that the user gave is the one that is sent."""
    transport = Scripted((200, STARTED))
    await api(transport).start(StartBody("hi", agent="a", idempotency_key="mine"))
    assert transport.bodies[0]["idempotency_key"] == "mine"


async def test_patience_ends():
    """E0701 names the address, the reason and what to do."""
    with pytest.raises(ClientError) as caught:
        await api(Scripted(REFUSED)).execution("x1")
    assert (caught.value.code, caught.value.where, caught.value.why) == ("E0701", "http://test", "refused")
    assert "perdure server start" in caught.value.fix


async def test_nothing_listens_is_e0701():
    """A port where nothing listens is told as such over the network too."""
    client = ApiClient(HttpTransport("http://127.0.0.1:9"), SystemClock(), patience_s=0)
    with pytest.raises(ClientError) as caught:
        await client.health()
    assert caught.value.code == "E0701"
    await client.aclose()


async def test_the_servers_error_is_the_clients_error():
    """Family, code and texts cross the wire; it is not repeated."""
    transport = Scripted(error("E0401", 404))
    with pytest.raises(ExecutionError) as caught:
        await api(transport).execution("x1")
    assert (caught.value.code, caught.value.fix) == ("E0401", "do")
    assert len(transport.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((502, b"<html>bad gateway"), "E0610"),
        ((401, b""), "E0601"),
        ((500, b"oops"), "E0609"),
        ((200, b"hello"), "E0703"),
    ],
)
async def test_answers_of_others_are_told_apart(answer: tuple[int, bytes], code: str):
    """A proxy's error, a stranger's answer and a bare refusal each get a code."""
    with pytest.raises((ApiError, ClientError)) as caught:
        await api(Scripted(answer)).execution("x1")
    assert caught.value.code == code


async def test_another_wire_version_is_refused():
    """E0703 says which versions differ."""

    class Newer(Scripted):
        async def request(self, *arguments: Any) -> Reply:
            return msgspec.structs.replace(await super().request(*arguments), headers={"perdure-wire": "7"})

    with pytest.raises(ClientError, match="version 7"):
        await api(Newer((200, STARTED))).execution("x1")


def approval(**fields: Any) -> dict[str, Any]:
    """An approval as the server shows it."""
    known: dict[str, Any] = dict.fromkeys(
        ("unknown_epoch", "decision", "decided_at_ms", "decided_by", "channel", "decided_arguments", "answer")
    )
    known |= {
        "approval_id": "a1",
        "execution_id": "x1",
        "step": "s",
        "agent": "a",
        "tool": "t",
        "arguments": {},
        "kind": "call",
        "answer_schema": None,
    }
    known |= {"kind": "call", "answer_schema": None, "answer": None}
    return known | {"effect_hash": "h", "requested_at_ms": 0, "reason": ""} | fields


async def test_a_decision_whose_answer_was_lost_is_recognised():
    """After a lost answer, E0408 about our own decision is its success; about another's it is an error."""
    body = DecisionBody("approved", "h", by="eva")
    ours = approval(decision="approved", decided_by="eva", channel="api")
    theirs = approval(decision="rejected", decided_by="bob", channel="api")
    found = await api(Scripted(LOST, error("E0408", 409), (200, ours))).decide("a1", body)
    assert found.decided_by == "eva"
    for answers in ((LOST, error("E0408", 409), (200, theirs)), (error("E0408", 409), (200, ours))):
        with pytest.raises(ExecutionError):
            await api(Scripted(*answers)).decide("a1", body)


async def test_a_request_that_is_not_text_is_refused_here():
    """Lone surrogates never leave the process: E0611."""
    transport = Scripted((200, STARTED))
    with pytest.raises(ApiError) as caught:
        await api(transport).start(StartBody("\ud800", definition=AgentDefinition("a", "mock/script")))
    assert caught.value.code == "E0611"
    assert transport.bodies == []


async def test_names_and_filters_are_escaped():
    """Paths and queries hold what a URL may hold."""
    transport = Scripted((200, {"executions": [], "next": None}))
    await api(transport).executions(status=["running", "failed"], agent="a b&c", limit=3)
    assert transport.targets == ["GET /api/v1/executions?status=running%2Cfailed&agent=a+b%26c&limit=3"]
    with pytest.raises(ClientError):
        await api(transport).control("x/1", "cancel", ControlBody("why"))
    assert transport.targets[-1] == "POST /api/v1/executions/x%2F1/cancel"


async def test_a_cancelled_call_does_not_go_on():
    """Patience ends with the caller."""
    call = asyncio.ensure_future(api(Scripted(REFUSED), patience_s=60).execution("x1"))
    await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
