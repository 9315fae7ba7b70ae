"""Messages to running executions: in order, none lost, none twice, whatever happens in between."""

import asyncio

import pytest

from perdure.core import events as ev
from perdure.core.definition import GuardrailDefinition
from perdure.core.messages import ToolResultPart, user
from perdure.core.model import ModelReply, ModelRequest
from tests.contract.engine.engine_harness import Gate, Harness, call, refused, reply, soon
from tests.contract.engine.guard_harness import working
from tests.contract.engine.tree_harness import (
    TalkingModel,
    agent,
    at_every_commit,
    begin,
    caller,
    children,
    listener,
    of,
    texts,
    tolerant,
)

ANN = agent("ann")


async def say(
    h: Harness, execution_id: str, text: str, message_id: str = "", mode: ev.MessageMode = "enqueue"
):
    """Say something to an execution."""
    return await h.executions.say(execution_id, message_id or f"id of {text}", user(text), "ann", mode)


def taken(request: ModelRequest) -> list[list[str]]:
    """What the message tools of the last turn gave."""
    parts = [p for p in request.messages[-1].parts if isinstance(p, ToolResultPart)]
    return [[m["text"] for m in part.result["messages"]] for part in parts]


async def test_messages_come_in_order_behind_what_the_turn_has_done(h: Harness):
    """Three messages while a tool runs: the next turn shows its result, then they, each once and in order."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    for text in ("one", "two", "three"):
        await say(h, execution_id, text)
    await h.hand_in(task)
    await h.ended(execution_id)
    last = h.model.requests[-1].messages
    assert [m.role for m in last] == ["user", "assistant", "tool", "user", "user", "user"]
    assert [m.text for m in last[3:]] == ["one", "two", "three"]


async def test_an_answer_that_was_on_its_way_is_not_the_last_word(h: Harness):
    """The next turn has both the answer and what was said meanwhile."""
    gate = Gate(reply("First."))
    await h.open(gate, reply("Second."))
    execution_id = await h.start()
    await gate.reached.wait()
    await say(h, execution_id, "And tea?")
    gate.opened.set()
    assert (await h.ended(execution_id)).output == "Second."
    assert texts(h.model.requests[-1]) == ["Hello.", "First.", "And tea?"]


async def test_an_answer_of_the_last_turn_is_taken_whatever_is_said(h: Harness):
    """There is no turn left in which to hear the message: the execution has its answer, and does not fail for it."""
    gate = Gate(reply("First."))
    await h.open(gate)
    execution_id = await h.start(changed={"max_turns": 1})
    await gate.reached.wait()
    await say(h, execution_id, "And tea?")
    gate.opened.set()
    assert (await h.ended(execution_id)).output == "First."


async def test_what_is_said_while_the_answer_is_judged_is_heard(h: Harness):
    """A guardrail has the answer when the message comes: it is not the last word either."""
    await h.open(reply("First."), reply("Second."))
    guard = GuardrailDefinition("g", position="output")
    execution_id = await h.start(changed={"guards": (guard,)})
    await soon(lambda: h.gauge("tasks_waiting"))
    await say(h, execution_id, "And tea?")
    async with working(h):
        assert (await h.ended(execution_id)).output == "Second."
    assert texts(h.model.requests[-1]) == ["Hello.", "First.", "And tea?"]


async def test_the_same_id_again_changes_nothing_even_after_a_restart_and_the_end(h: Harness):
    """A caller who lost the answer says it again: running, restarted or ended, it is there once."""
    gate = Gate(reply("never"))
    await h.open(gate)
    execution_id = await h.start()
    await gate.reached.wait()
    await asyncio.gather(*(say(h, execution_id, "And tea?", "m1") for _ in range(5)))
    await h.restart(Gate(reply("never")))
    await say(h, execution_id, "And tea?", "m1")
    await h.restart(reply("Done."))
    await h.ended(execution_id)
    await say(h, execution_id, "And tea?", "m1")
    assert len(await h.found(execution_id, ev.MessageReceived)) == 1
    assert texts(h.model.requests[0]) == ["Hello.", "And tea?"]


async def test_what_has_ended_hears_nothing_any_more(h: Harness):
    """A new message after the end is refused with E0402, and nothing is recorded."""
    await h.open(reply("Done."))
    execution_id = await h.start()
    await h.ended(execution_id)
    before = await h.records(execution_id)
    assert (await refused(say(h, execution_id, "Too late."))).code == "E0402"
    assert await h.records(execution_id) == before
    assert (await refused(say(h, "x-unknown", "Hello?"))).code == "E0401"


async def test_an_interrupt_gives_up_the_model_call(h: Harness):
    """The call is aborted, what it streamed is void, and the next turn begins with the message at once."""
    gate = Gate(reply("never"), "half an ans")
    await h.open([gate, reply("Tea it is.")])
    h.model.turns = [gate]
    execution_id = await h.start()
    await gate.reached.wait()
    h.model.turns = [reply("Tea it is.")]
    await say(h, execution_id, "Stop, tea!", mode="interrupt")
    assert (await h.ended(execution_id)).output == "Tea it is."
    assert gate.cancelled
    assert texts(h.model.requests[-1]) == ["Hello.", "Stop, tea!"]
    assert len(await h.found(execution_id, ev.ModelInterrupted)) == 1


async def test_an_interrupt_while_tools_run_waits_for_them(h: Harness):
    """A tool that has begun is not taken back: its result stands before the message."""
    await h.open(reply(call("look")), reply("Done."))
    execution_id = await h.start()
    task = await h.take()
    await say(h, execution_id, "Hurry!", mode="interrupt")
    assert await h.hand_in(task) is None
    await h.ended(execution_id)
    assert [m.role for m in h.model.requests[-1].messages] == ["user", "assistant", "tool", "user"]


@pytest.mark.parametrize("mode", ["enqueue", "interrupt"])
async def test_what_is_said_while_paused_is_heard_after_the_resume(h: Harness, mode: ev.MessageMode):
    """Also over a restart; nothing is asked while it is paused."""
    gate = Gate(reply("First."))
    await h.open(gate, reply("Second."))
    execution_id = await h.start()
    await gate.reached.wait()
    await h.executions.pause(execution_id, "ann", "")
    await say(h, execution_id, "And tea?", mode=mode)
    gate.opened.set()
    await asyncio.sleep(0.05)
    await h.restart(reply("Second."))
    await asyncio.sleep(0.05)
    assert (await h.executions.get(execution_id)).status == "paused"
    assert h.model.requests == []
    await h.executions.resume(execution_id, "ann")
    assert (await h.ended(execution_id)).output == "Second."
    assert texts(h.model.requests[-1])[-1] == "And tea?"


# The message tools ----------------------------------------------------------------------------------------


async def test_a_blocking_tool_waits_for_a_message_and_costs_nothing_meanwhile(h: Harness):
    """It waits, out of memory and over a restart, and gives the first message that comes."""
    h.model = TalkingModel(
        helper=lambda r: reply("Done.") if r.messages[-1].role == "tool" else reply(call("listen"))
    )
    await h.open()
    execution_id = await begin(h, listener())
    await h.until(execution_id, "waiting:message")
    assert h.gauge("executions_resident") == 0
    await h.restart()
    await say(h, execution_id, "Here I am.")
    await h.ended(execution_id)
    assert taken(h.model.requests[-1]) == [["Here I am."]]
    assert len(h.model.requests[-1].messages) == 3, "and it is not shown a second time"


async def test_a_tool_that_does_not_block_gives_what_there_is(h: Harness):
    """Nothing, or a batch of at most batch_size; what is over it is shown in the next turn."""
    gate = Gate(reply(call("glance", "a"), call("glance", "b")))
    turns = [gate, reply(call("glance", "c")), reply("Done.")]
    await h.open(*turns)
    execution_id = await begin(h, listener())
    await gate.reached.wait()
    for n in range(7):
        await say(h, execution_id, f"m{n}")
    gate.opened.set()
    await h.ended(execution_id)
    assert taken(h.model.requests[1]) == [["m0", "m1", "m2", "m3", "m4"], ["m5", "m6"]]
    assert taken(h.model.requests[2]) == [[]]


async def test_two_calls_that_wait_take_a_message_each(h: Harness):
    """First come, first served."""
    await h.open(reply(call("listen", "a"), call("listen", "b")), reply("Done."))
    execution_id = await begin(h, listener())
    await h.until(execution_id, "waiting:message")
    await say(h, execution_id, "one")
    await say(h, execution_id, "two")
    await h.ended(execution_id)
    assert taken(h.model.requests[-1]) == [["one"], ["two"]]


# Teams ----------------------------------------------------------------------------------------------------


async def test_what_is_said_to_a_team_reaches_whoever_is_open_at_any_depth(h: Harness):
    """A team within an agent's call: the child of the child hears it, and the caller as well."""
    gate = Gate(reply("Bob."))
    inner = of("sequential", "inner", bob := agent("bob"))
    root = caller("root", inner)
    h.model = TalkingModel(
        root=lambda r: (
            reply("Done.")
            if r.messages[-1].role != "user" or len(r.messages) > 1
            else reply(call("inner", request="Go"))
        ),
        bob=lambda r: (
            gate(r, lambda _: None) if len(r.messages) == 1 else reply(f"Bob: {r.messages[-1].text}")
        ),
    )
    await h.open()
    execution_id = await begin(h, root, inner, bob)
    await gate.reached.wait()
    await say(h, execution_id, "Louder!")
    (middle,) = await children(h, execution_id)
    (leaf,) = await children(h, middle.execution_id)
    for _ in range(500):
        if await h.found(leaf.execution_id, ev.MessageReceived):
            break
        await asyncio.sleep(0.01)
    gate.opened.set()
    await h.ended(execution_id)
    assert (await h.executions.get(leaf.execution_id)).output == "Bob: Louder!"
    assert texts(h.model.by_agent["root"][-1])[-1] == "Louder!"


async def test_who_speaks_next_in_a_team_has_heard_it_too(h: Harness):
    """round_robin: said while ann speaks, it is in the conversation that bob is shown."""
    gate = Gate(reply("Ann."))
    talk = of("round_robin", "talk", ann := agent("ann"), bob := agent("bob"), max_turns=2)
    h.model = TalkingModel(
        ann=lambda r: gate(r, lambda _: None) if len(r.messages) == 1 else reply("Ann again.")
    )
    await h.open()
    execution_id = await begin(h, talk, ann, bob)
    await gate.reached.wait()
    await say(h, execution_id, "Louder!")
    gate.opened.set()
    await h.ended(execution_id)
    assert texts(h.model.by_agent["bob"][0]) == ["Hello.", "Louder!", "[ann]: Ann again."]


# Crashes ---------------------------------------------------------------------------------------------------


async def test_a_crash_at_every_commit_loses_no_message_and_doubles_none(h: Harness):
    """A caller of an agent, two messages, a tool: whatever commit was the last one, each is heard once, in order."""
    root = caller("root", ANN)

    def voice(request: ModelRequest) -> ModelReply:
        return (
            reply("Done.")
            if any(m.tool_calls for m in request.messages)
            else reply(call("ann", request="Go"))
        )

    async def slow(request: ModelRequest) -> ModelReply:
        await asyncio.sleep(0.05 if len(request.messages) == 1 else 0)
        return reply(f"{len(request.messages)} heard")

    h.model = model = TalkingModel(root=voice, ann=slow)

    async def client(name: str) -> None:
        execution_id = await begin(h, root, ANN, idempotency_key=name)
        for text in ("one", "two"):
            await tolerant(say(h, execution_id, text, f"{name} {text}"), "E0402")
        view = await h.ended(execution_id)
        said = [e.message.text for e in await h.found(execution_id, ev.MessageReceived)]
        assert view.status == "completed"
        assert said == ["one", "two"][: len(said)]
        shown = [t for t in texts(model.by_agent["root"][-1]) if t in ("one", "two")]
        assert shown == said
        for child in await children(h, execution_id):
            heard = [e.message.text for e in await h.found(child.execution_id, ev.MessageReceived)]
            assert heard == [text for text in said if text in heard], "in order, and none twice"

    assert await at_every_commit(h, client) >= 6


async def test_a_message_to_a_child_survives_the_crash_between_the_two_records(h: Harness):
    """The parent has it and the child has not: after the restart the child is told."""
    root = caller("root", listening := listener("ann"))
    h.model = TalkingModel(
        root=lambda r: reply("Done.") if len(r.messages) > 1 else reply(call("ann", request="Go")),
        ann=lambda r: reply("Heard.") if r.messages[-1].role == "tool" else reply(call("listen")),
    )

    async def client(name: str) -> None:
        execution_id = await begin(h, root, listening, idempotency_key=name)
        for _ in range(1_000):
            below = await children(h, execution_id)
            view = await h.executions.get(execution_id)
            if (below and below[0].status == "waiting:message") or view.status == "completed":
                break
            await asyncio.sleep(0.005)
        await tolerant(say(h, execution_id, "Here I am.", name), "E0402")
        assert (await h.ended(execution_id)).status == "completed"
        (child,) = await children(h, execution_id)
        assert len(await h.found(child.execution_id, ev.MessageReceived)) == 1
        assert (await h.executions.get(child.execution_id)).output == "Heard."

    assert await at_every_commit(h, client) >= 6
