"""Clients that start and insist, readers that come back, people who decide and meddle."""

import asyncio
import random
from typing import Any

from perdure.core import events as ev
from perdure.core.errors import PerdureError
from perdure.engine.ports import TERMINAL_STATUSES, ApprovalRow, Decision, ExecutionFilter, StreamDelta
from tests.simulation.world import World

STEERED = {"pause": "execution_paused", "cancel": "execution_cancelled"}


async def start_and_follow(world: World, key: str) -> None:
    """A client: starts an execution and reads its stream to the end."""
    await _start(world, key)
    await asyncio.sleep(world.rng.choice((0, 0.2, 5)))
    await _follow(world, world.started[key])


async def _start(world: World, key: str) -> None:
    """Insist, with the same key, until the server has said that it began."""
    rng = world.rng
    request = world.request(key)
    await asyncio.sleep(rng.random() * world.spread_s)
    while key not in world.started:
        copies = rng.choice((1, 1, 1, 2))
        starting = (world.executions("start", request) for _ in range(copies))
        for answer in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(answer, Exception):
                world.expect(answer)
            else:
                known = world.started.setdefault(key, answer.execution_id)
                assert known == answer.execution_id, f"{key} began two executions"
                world.acked.append(("start", known))
        await asyncio.sleep(0.5)


async def _follow(world: World, execution_id: str) -> None:
    """Read a stream to its end over any number of lost connections: I10, no gap and no duplicate."""
    seen = world.seen.setdefault(execution_id, [])
    while not (seen and isinstance(seen[-1].event, ev.TERMINAL)):
        try:
            await world.call(lambda engine: _read(world, engine.executions, execution_id, seen))
        except Exception as error:
            world.expect(error)
        await asyncio.sleep(world.rng.random())


async def _read(world: World, executions: Any, execution_id: str, seen: list[Any]) -> None:
    said: dict[tuple[str, int, str], int] = {}
    stream = executions.stream(execution_id, len(seen))
    try:
        async for item in stream:
            if isinstance(item, StreamDelta):
                piece = (item.step, item.attempt, item.kind)
                assert item.offset <= said.get(piece, 0), f"I10: a gap in the text of {piece}"
                said[piece] = max(said.get(piece, 0), item.offset + len(item.text))
            else:
                assert item.seq == len(seen) + 1, f"I10: {item.seq} after {len(seen)}"
                seen.append(item)
            if world.happens("lost"):
                return
    finally:
        await stream.aclose()


async def rest(world: World, most_s: float) -> None:
    """Do nothing for up to so many seconds."""
    await asyncio.sleep(world.rng.random() * most_s)


async def decide(world: World, name: str) -> None:
    """A person who decides about what waits; two such people race."""
    rng = world.rng
    while True:
        await asyncio.sleep(rng.random() * (3 if world.chaos else 0.5))
        try:
            rows = await world.executions("approvals", None, pending=True)
            if rows:
                await _decide(world, name, rng.choice(rows))
        except Exception as error:
            world.expect(error)


async def _decide(world: World, name: str, row: ApprovalRow) -> None:
    rng = world.rng
    verdict: Any = rng.choice(("approved", "approved", "approved", "rejected"))
    asked_for_leave = row.kind == "call" and row.unknown_epoch is None
    edit = verdict == "approved" and asked_for_leave and rng.random() < 0.3
    wrong = rng.random() < 0.1
    decision = Decision(
        verdict,
        name,
        "test",
        effect_hash="0" * 64 if wrong else rng.choice((None, row.effect_hash)),
        arguments=_edited(rng, row) if edit else None,
        answer=_answer(rng, row) if row.kind != "call" and verdict == "approved" else None,
    )
    try:
        answer = await world.executions("decide", row.approval_id, decision)
    except PerdureError as error:
        world.expect(error, "E0408", *(["E0409"] if wrong else []))
        winners = ("approved", "rejected", "void") if error.code == "E0408" else (None,)
        if error.fields.get("decision") not in winners:
            raise AssertionError(f"the loser is not told who won: {error.fields}") from error
    else:
        assert not wrong, "a decision about something else was taken"
        assert (answer.decision, answer.decided_by) == (verdict, name)
        world.acked.append(("decision", (row.execution_id, row.approval_id, verdict)))


def _edited(rng: random.Random, row: ApprovalRow) -> dict[str, Any]:
    if "amount" in row.arguments:
        return {"amount": rng.randrange(9)}
    return dict.fromkeys(row.arguments, "Something else.")


def _answer(rng: random.Random, row: ApprovalRow) -> dict[str, Any] | None:
    if row.kind == "guardrail":
        return _passed(rng, row)
    fields = (row.answer_schema or {}).get("properties")
    if fields is None:
        return None  # leave to use more: there is nothing to be said besides yes
    return {"agent": rng.choice(fields["agent"]["enum"])} if "agent" in fields else {"answer": "Yes."}


def _passed(rng: random.Random, row: ApprovalRow) -> dict[str, Any] | None:
    """Let pass what a guardrail did not, as it is or with something else in its place."""
    if rng.random() < 0.6:
        return None
    content = (row.answer_schema or {})["anyOf"][1]["properties"]["content"]
    return {"content": {"amount": 4} if content.get("type") == "object" else "Something else."}


async def meddle(world: World) -> None:
    """A person who pauses, resumes and now and then cancels."""
    rng = world.rng
    while True:
        await asyncio.sleep(rng.random() * 6)
        if not world.started or not world.happens("meddling"):
            continue
        execution_id = rng.choice(list(world.started.values()))
        verb = rng.choice(("pause", "pause", "resume", "resume", "resume", "cancel"))
        reason = () if verb == "resume" else ("for a test",)
        try:
            await world.executions(verb, execution_id, "meddler", *reason)
        except Exception as error:
            world.expect(error, "E0402")
        else:
            if verb in STEERED:  # to resume what runs is allowed, and leaves no event
                world.acked.append((verb, (execution_id, STEERED[verb])))


async def look(world: World) -> None:
    """A client that looks: whatever it is shown makes sense."""
    while True:
        await asyncio.sleep(world.rng.random() * 4)
        try:
            for view in await world.executions("find", ExecutionFilter(limit=50)):
                assert view.last_seq > 0
            if world.started:
                view = await world.executions("get", world.rng.choice(list(world.started.values())))
                moves = view.waits or view.status in (*TERMINAL_STATUSES, "paused", "quarantined")
                assert moves, f"{view.execution_id} is {view.status} and waits for nothing"
        except Exception as error:
            world.expect(error)


async def set_free(world: World) -> None:
    """Once the faults have stopped, somebody resumes what was paused or set aside."""
    while True:
        await asyncio.sleep(1)
        stopped = ExecutionFilter(status=("paused", "quarantined"))
        for row in await world.executions("find", stopped):
            try:
                await world.executions("resume", row.execution_id, "helper")
            except PerdureError as error:
                world.expect(error, "E0402")  # its time ran out meanwhile
