"""Teams through the server: what a root waits for, lists of roots and of children, approvals of a whole tree."""

import asyncio
from typing import Any

from tests.server.harness import API, World, definition, in_loop, with_tool, world


def team(*members: dict[str, Any], name: str = "team", strategy: str = "parallel") -> dict[str, Any]:
    """A team of these agents."""
    return {"name": name, "model": "", "strategy": strategy, "agents": list(members)}


def asker(name: str = "asker") -> dict[str, Any]:
    """An agent that waits for leave to look."""
    return with_tool(approval_required=True) | {"name": name}


async def seen(w: World, execution_id: str, *child_statuses: str) -> Any:
    """The execution once its children do these things."""
    for _ in range(500):
        view = (await w.door.get(f"{API}/executions/{execution_id}")).json
        found = sorted(x.get("child_status", "") for x in view["waits"] if x["kind"] == "child")
        if found == sorted(child_statuses):
            return view
        await asyncio.sleep(0.01)
    raise AssertionError(view)


@in_loop
async def test_a_root_says_what_waits_below_it():
    """Every level is in the waits, each with whose it is; the root's own status keeps the journal's word."""
    async with world() as w:
        inner = team(asker("deep"), name="inner")
        root = await w.start(definition=team(inner, asker()))
        view = await seen(w, root, "waiting:child", "waiting:approval", "waiting:approval")
        assert view["status"] == "waiting:child"
        by_kind = [(x["kind"], x["agent"]) for x in view["waits"]]
        assert by_kind == [
            ("child", "inner"), ("child", "deep"), ("approval", "deep"), ("child", "asker"), ("approval", "asker"),
        ]  # fmt: skip
        deep = view["waits"][1]
        assert deep["execution_id"] == view["waits"][0]["child_id"]
        assert view["waits"][2]["execution_id"] == deep["child_id"]
        assert view["waits"][2]["arguments"] == {"n": 0}
        pending = (await w.door.get(f"{API}/approvals?execution_id={root}&tree=true")).json["approvals"]
        assert {a["agent"] for a in pending} == {"deep", "asker"}
        assert (await w.door.get(f"{API}/approvals?execution_id={root}")).json["approvals"] == []


@in_loop
async def test_a_child_without_a_worker_says_so():
    """The status of a child is the one that it has by itself: nobody polls for its tool."""
    async with world() as w:
        root = await w.start(definition=team(with_tool()))
        view = await seen(w, root, "waiting:worker")
        assert [(x["kind"], x.get("tool"), x["agent"]) for x in view["waits"]] == [
            ("child", None, "helper"), ("worker", "look", "helper"),
        ]  # fmt: skip


@in_loop
async def test_lists_of_roots_and_of_children():
    """`roots` leaves children out, `parent_id` has those of one alone; a status goes with both."""
    async with world() as w:
        alone = await w.start()
        await w.ended(alone)
        root = await w.start(definition=team(asker("one"), asker("two"), definition(name="three")))
        view = await seen(w, root, "waiting:approval", "waiting:approval")
        children = {x["child_id"] for x in view["waits"] if x["kind"] == "child"}

        async def ids(query: str) -> set[str]:
            reply = await w.door.get(f"{API}/executions?{query}")
            assert reply.status == 200, reply.body
            return {e["execution_id"] for e in reply.json["executions"]}

        assert await ids("roots=true") == {alone, root}
        below = await ids(f"parent_id={root}")
        assert children < below
        assert len(below) == 3
        assert await ids("") == below | {alone, root}
        assert await ids(f"parent_id={root}&status=waiting:approval") == children
        assert await ids("roots=true&status=waiting") == {root}
        assert await ids(f"parent_id={alone}") == set()
        assert (await w.door.get(f"{API}/executions?parent_id=")).status == 400


@in_loop
async def test_of_a_large_team_a_part_is_told():
    """A look at a root reads a bounded number of executions: the rest of the children is named without its status."""
    async with world() as w:
        root = await w.start(definition=team(*(asker(f"a{n}") for n in range(205))))
        view = await seen(w, root, *[""] * 5, *["waiting:approval"] * 200)
        assert len([x for x in view["waits"] if x["kind"] == "approval"]) == 200
