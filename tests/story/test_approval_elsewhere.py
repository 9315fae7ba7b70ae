"""A person decides from a process that did not start the execution, after that one and the server were killed."""

import json

from perdure import AgentHandle, AgentResult, EventType
from tests.story.stage import SOON_S, Stage, until


def decide(stage: Stage, execution_id: str, verb: str, **options: object) -> dict:
    """Decide in a process of its own; give what it met."""
    process = stage.program(
        "decider", execution_id, verb, json.dumps(options), called=f"{verb}-{len(stage.processes)}"
    )
    assert process.ended() == 0, process.said()
    return process.lines()[0]


def parked(stage: Stage, count: int) -> list[str]:
    """Executions that wait for a person, and whose process and server were killed; a new server runs."""
    stage.start_server()
    asker = stage.program("asker", str(count))
    found = until(lambda: len(asker.lines()) == count and asker.lines(), "the executions to be started")
    with stage.runtime() as runtime:
        for execution_id in found:
            handle = AgentHandle(execution_id, runtime)
            until(lambda handle=handle: handle.get_status().is_waiting, "the approval")
    asker.kill()
    stage.server.kill()
    stage.start_server()
    return found


def test_deciding_from_another_process_after_everything_was_killed(stage: Stage):
    """Approved, rejected and edited calls go on as decided; a second decision is refused; who and when is recorded."""
    approved, rejected, edited = parked(stage, 3)
    met = decide(stage, approved, "approve", by="ada", reason="fine")
    assert (met["status"], met["waiting"]) == ("waiting:approval", True)
    assert (met["pending"]["name"], met["pending"]["args"]) == ("refund", {"cents": 4000})
    decide(stage, rejected, "reject", reason="over the limit", by="grace")
    decide(stage, edited, "approve", arguments={"cents": 2500}, by="ada")
    assert stage.ledger() == []  # no worker, no effect: a decision is only a record

    twice = decide(stage, approved, "reject", approval_id=met["pending"]["approval_id"])
    assert twice["refused"] == "E0408"
    stage.worker("cashier")
    with stage.runtime() as runtime:
        results = {i: AgentHandle(i, runtime).join(SOON_S) for i in (approved, rejected, edited)}
    check_results(results[approved], results[rejected], results[edited])
    check_records(stage, approved, rejected, edited)

    effects = stage.ledger()
    assert sorted(e["execution"] for e in effects) == sorted([approved, edited])


def check_results(approved: AgentResult, rejected: AgentResult, edited: AgentResult) -> None:
    """What the agents made of the decisions."""
    assert approved.output == "The refund: refunded 4000"
    assert edited.output == "The refund: refunded 2500"
    assert edited.tool_calls[0]["args"] == {"cents": 2500}
    assert rejected.is_success, "a rejected call is not the end: the agent is told and goes on"
    assert "over the limit" in rejected.output
    assert rejected.tool_calls[0]["rejected"]


def check_records(stage: Stage, approved: str, rejected: str, edited: str) -> None:
    """Who decided what, when and through which door."""
    answer = json.loads(stage.get("/api/v1/approvals?pending=false"))["approvals"]
    records = {a["execution_id"]: a for a in answer}
    told = {
        i: (r["decision"], r["decided_by"], r["channel"], r["reason"], r["decided_arguments"])
        for i, r in records.items()
    }
    assert told == {
        approved: ("approved", "ada", "sdk", "fine", None),
        rejected: ("rejected", "grace", "sdk", "over the limit", None),
        edited: ("approved", "ada", "sdk", "", {"cents": 2500}),
    }
    assert all(r["decided_at_ms"] >= r["requested_at_ms"] for r in records.values())
    with stage.runtime() as runtime:
        events = AgentHandle(approved, runtime).events()
    decisions = [e for e in events if e.type == EventType.APPROVAL]
    assert [(e.approved, e.by, e.content) for e in decisions] == [(True, "ada", "fine")]
    assert decisions[0].at_ms == records[approved]["decided_at_ms"]
