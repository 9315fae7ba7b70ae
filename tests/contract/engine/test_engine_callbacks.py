"""Callbacks: the six places, what each is told, what each may change, and that one that errs lets nothing pass."""

from typing import Any

import pytest

from perdure.core import events as ev
from perdure.core.definition import HOOKS, AgentDefinition, HookName, ToolDefinition
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import Task
from tests.contract.engine.engine_harness import Harness, call, reply
from tests.contract.engine.guard_harness import (
    JudgedModel,
    Worker,
    guard,
    guarded,
    hold,
    opened,
    shown,
    working,
)
from tests.contract.engine.team_harness import agent, cast, play

MAY_CHANGE: dict[HookName, tuple[str, Any]] = {
    "before_agent": ("input", "another prompt"),
    "after_agent": ("output", {"of": "another kind"}),
    "before_model": ("instructions", "Speak softly."),
    "after_model": ("text", "another text"),
    "before_tool": ("arguments", {"q": "another"}),
    "after_tool": ("result", ["another", 1]),
}
by_hook = pytest.mark.parametrize("hook", HOOKS)


@pytest.fixture
def m() -> Harness:
    """A harness over the memory journal."""
    return Harness(MemoryJournal)


def nothing(_: Task) -> dict[str, Any]:
    """What a callback gives that changes nothing."""
    return {"changes": None}


def changing(hook: HookName) -> Any:
    """A callback that changes what it may."""
    field, value = MAY_CHANGE[hook]
    return lambda _: {"changes": {field: value}}


ALL: dict[str, Any] = dict.fromkeys(HOOKS, nothing)


async def looked(h: Harness, hooks: tuple[HookName, ...] = HOOKS, **fields: Any) -> tuple[str, JudgedModel]:
    """An execution that looks once and answers, with these callbacks."""
    model = await opened(h, reply("I look.", call("look", q="x")), reply("fine"))
    changed = guarded("agent input", **{"hooks": hooks, **fields})
    return await h.start("Hello.", changed=changed, context=None), model


def told(worker: Worker, name: str) -> list[dict[str, Any]]:
    """What a function was told, time by time."""
    return [task.arguments for task in worker.ran if task.tool == name]


# Order, and what each is told ----------------------------------------------------------------------------------


async def test_the_six_in_order(m: Harness):
    """Around the agent, around each model call, around each tool call; all run as tasks of the agent."""
    async with working(m, **ALL) as worker:
        execution_id, _ = await looked(m)
        assert (await m.ended(execution_id)).output == "fine"
    assert worker.names() == [
        "@before_agent",
        "@before_model",
        "@after_model",
        "@before_tool",
        "look",
        "@after_tool",
        "@before_model",
        "@after_model",
        "@after_agent",
    ]
    assert {task.agent for task in worker.ran} == {"helper"}
    assert len({task.idempotency_key for task in worker.ran}) == len(worker.ran)
    hold(await m.records(execution_id))


async def test_what_each_is_told(m: Harness):
    """Whole values, as they stand: the input, the conversation, the answer's calls, arguments and result."""
    async with working(m, **ALL) as worker:
        execution_id, _ = await looked(m)
        await m.ended(execution_id)
    assert told(worker, "@before_agent") == [{"input": "Hello."}]
    assert told(worker, "@after_agent") == [{"input": "Hello.", "output": "fine"}]
    first, second = told(worker, "@before_model")
    assert first == {"turn": 1, "messages": [{"role": "user", "text": "Hello."}]}
    assert second["turn"] == 2
    assert [said["role"] for said in second["messages"]] == ["user", "assistant", "tool"]
    asked = {"tool": "look", "call_id": "c-look", "arguments": {"q": "x"}}
    assert told(worker, "@after_model") == [
        {"turn": 1, "text": "I look.", "tool_calls": [asked]},
        {"turn": 2, "text": "fine", "tool_calls": []},
    ]
    assert told(worker, "@before_tool") == [asked]
    assert told(worker, "@after_tool") == [{**asked, "result": "x found"}]


@by_hook
async def test_only_what_is_wanted_is_asked(m: Harness, hook: HookName):
    """A hook that nobody overrides costs no task."""
    async with working(m, **{hook: nothing}) as worker:
        execution_id, _ = await looked(m, (hook,))
        assert (await m.ended(execution_id)).output == "fine"
    assert set(worker.names()) == {"look", f"@{hook}"}
    ended = await m.found(execution_id, ev.HookEnded)
    assert {(e.hook, e.fields) for e in ended} == {(f"@{hook}", ())}


# What each may change --------------------------------------------------------------------------------------------


@by_hook
async def test_what_each_may_change(m: Harness, hook: HookName):
    """Its one field, for all that comes after it; the event says that it did, and what."""
    async with working(m, **{hook: changing(hook)}) as worker:
        execution_id, model = await looked(m, (hook,))
        view = await m.ended(execution_id)
    assert view.status == "completed"
    field, value = MAY_CHANGE[hook]
    changed = [e for e in await m.found(execution_id, ev.HookEnded) if e.fields]
    assert {e.fields for e in changed} == {(field,)}
    assert {str(r.value) for r in await m.found(execution_id, ev.Replaced)} == {str(value)}
    if hook == "before_agent":
        assert shown(model, 0) == value
    elif hook == "after_agent":
        assert view.output == value
    elif hook == "before_model":
        assert [r.instructions for r in model.requests] == ["Be brief.\n\nSpeak softly."] * 2
    elif hook == "after_model":
        assert view.output == value
        assert model.requests[1].messages[1].text == value
        assert [c.tool for c in model.requests[1].messages[1].tool_calls] == ["look"]
    elif hook == "before_tool":
        assert worker.looked == ["another"]
    else:
        assert model.requests[1].messages[-1].parts[0].result == value  # type: ignore[union-attr]


async def test_additions_to_the_instructions_are_for_one_call(m: Harness):
    """What before_model adds at one turn is not there at the next, unless it is added again."""
    turns = iter([{"changes": {"instructions": "Look first."}}, {"changes": None}])
    async with working(m, before_model=lambda _: next(turns)):
        execution_id, model = await looked(m, ("before_model",))
        await m.ended(execution_id)
    assert [r.instructions for r in model.requests] == ["Be brief.\n\nLook first.", "Be brief."]


async def test_a_guardrail_judges_what_a_callback_made_of_it(m: Harness):
    """Before a tool the callback comes first; at an agent's input and output the guardrails come first."""
    fields = guarded("tool input", guard("function", "tool input", "raise"), hooks=("before_tool",))
    await opened(m, reply(call("look", q="x")), reply("fine"))
    bad: dict[str, Any] = {"changes": {"arguments": {"q": "bad"}}}
    async with working(m, before_tool=lambda _: bad) as worker:
        view = await m.ended(await m.start(changed=fields))
    assert view.error is not None
    assert view.error["code"] == "E0422"
    assert worker.looked == []


async def test_arguments_that_do_not_fit_the_tool(m: Harness):
    """The call is refused and the model told; the tool does not run with them."""
    async with working(m, before_tool=lambda _: {"changes": {"arguments": {"q": 5}}}) as worker:
        execution_id, model = await looked(m, ("before_tool",))
        assert (await m.ended(execution_id)).output == "fine"
    assert worker.looked == []
    assert "E0305" in shown(model, 1)


# E8: one that errs lets nothing pass ------------------------------------------------------------------------------

NONSENSE: list[Any] = ["yes", 1, [], True, {"changes": "x"}, {"changes": ["x"]}, {"changes": {"other": 1}}]


@by_hook
async def test_a_callback_that_fails(m: Harness, hook: HookName):
    """The execution fails with E0417 and says which function and why; a redaction is not skipped in silence."""
    execution_id, model = await looked(m, (hook,))
    async with working(m):
        error = {"code": "E0301", "what": "ValueError: no"}
        task = await m.take(f"helper.@{hook}")
        await m.hand_in(task, None, error=error, retryable=False)
        view = await m.ended(execution_id)
    assert view.error is not None
    assert view.error["code"] == "E0417"
    assert f"@{hook}" in view.error["what"]
    assert "ValueError: no" in view.error["why"]
    assert len(model.requests) <= 2
    assert view.output is None


@by_hook
@pytest.mark.parametrize("given", NONSENSE, ids=str)
async def test_a_callback_that_gives_something_else(m: Harness, hook: HookName, given: Any):
    """Anything but the changes that it may make fails the execution."""
    async with working(m, **{hook: lambda _: given}):
        execution_id, _ = await looked(m, (hook,))
        view = await m.ended(execution_id)
    assert view.error is not None
    assert (view.status, view.error["code"]) == ("failed", "E0417")


WRONG: dict[HookName, list[Any]] = {
    "before_agent": [None, 5, {"a": 1}],
    "before_model": [None, 5, ["x"]],
    "after_model": [None, 5, {"a": 1}],
    "before_tool": [None, "x", [1]],
}


@pytest.mark.parametrize(("hook", "value"), [(h, v) for h, values in WRONG.items() for v in values])
async def test_a_change_of_the_wrong_type(m: Harness, hook: HookName, value: Any):
    """A text stays a text, and arguments stay an object: a value of another type fails the execution."""
    async with working(m, **{hook: lambda _: {"changes": {MAY_CHANGE[hook][0]: value}}}) as worker:
        execution_id, _ = await looked(m, (hook,))
        view = await m.ended(execution_id)
    assert view.error is not None
    assert (view.status, view.error["code"]) == ("failed", "E0417")
    assert worker.looked == []


# Instructions ---------------------------------------------------------------------------------------------------


async def test_instructions_of_a_function(m: Harness):
    """Asked once an execution, at its beginning, with the input; every model call of it has them."""
    said: list[Any] = []

    def instructions(task: Task) -> dict[str, Any]:
        said.append(task.arguments)
        return {"instructions": "Be kind."}

    async with working(m, instructions=instructions):
        execution_id, model = await looked(m, (), instructions_function=True)
        await m.ended(execution_id)
    assert said == [{"input": "Hello."}]
    assert [r.instructions for r in model.requests] == ["Be kind."] * 2


@pytest.mark.parametrize(
    "given", [None, "Be kind.", {}, {"instructions": None}, {"instructions": 5}], ids=str
)
async def test_instructions_that_are_none(m: Harness, given: Any):
    """No model is asked without the instructions that its author meant it to have."""
    async with working(m, instructions=lambda _: given):
        execution_id, model = await looked(m, (), instructions_function=True)
        view = await m.ended(execution_id)
    assert view.error is not None
    assert view.error["code"] == "E0417"
    assert model.requests == []


async def test_instructions_see_the_input_that_callbacks_left(m: Harness):
    """First the guardrails, then before_agent, then the instructions, each seeing what the ones before made of it."""
    seen: list[str] = []

    def note(answer: dict[str, Any]) -> Any:
        def run(task: Task) -> dict[str, Any]:
            seen.append(task.arguments["input"])
            return answer

        return run

    functions = {
        "before_agent": note({"changes": {"input": "another prompt"}}),
        "instructions": note({"instructions": "Be kind."}),
    }
    model = await opened(m, reply("fine"))
    fields = guarded(
        "agent input",
        guard("regex", "agent input", "fix"),
        hooks=("before_agent",),
        instructions_function=True,
    )
    async with working(m, **functions):
        await m.ended(await m.start("a bad prompt", changed=fields))
    assert seen == ["a [redacted] prompt", "another prompt"]
    assert shown(model, 0) == "another prompt"


# Agents below ------------------------------------------------------------------------------------------------------


async def test_callbacks_of_the_agents_below(m: Harness):
    """Each agent's own, under its own name; a team's stand around all of it."""
    await cast(m, a=["from a"], b=["from b"])
    team = AgentDefinition(
        "team",
        agents=(agent("a", hooks=("after_agent",)), agent("b", hooks=("before_agent",))),
        strategy="sequential",
        hooks=("before_agent", "after_agent"),
    )
    execution_id = await play(m, team)
    asked = []
    for _ in range(4):
        task = await m.take("team.@before_agent", "a.@after_agent", "b.@before_agent", "team.@after_agent")
        asked.append(f"{task.agent}.{task.tool}")
        field = {"@before_agent": "input", "@after_agent": "output"}[task.tool]
        mark = f"{task.arguments[field]} <{task.agent}>"
        await m.hand_in(task, {"changes": {field: mark}})
    assert asked == ["team.@before_agent", "a.@after_agent", "b.@before_agent", "team.@after_agent"]
    assert (await m.ended(execution_id)).output == "from b <team>"
    first = (await m.found(execution_id, ev.ChildRequested))[0]
    assert first.input.text == "Hello. <team>"
    second = (await m.found(execution_id, ev.ChildRequested))[1]
    assert "from a <a>" in second.input.text


async def test_callbacks_around_a_tool_that_is_an_agent(m: Harness):
    """They are told its request and its answer, and may change both."""
    model = await cast(m, lead=[reply(call("ask", request="one")), "fine"], a=["news"])
    tool = ToolDefinition("ask", kind="agent", agent=agent("a"))
    execution_id = await play(m, agent("lead", tools=(tool,), hooks=("before_tool", "after_tool")))
    task = await m.take("lead.@before_tool")
    assert task.arguments["arguments"] == {"request": "one"}
    await m.hand_in(task, {"changes": {"arguments": {"request": "two"}}})
    task = await m.take("lead.@after_tool")
    assert task.arguments["result"] == "news"
    await m.hand_in(task, {"changes": {"result": "good news"}})
    assert (await m.ended(execution_id)).output == "fine"
    assert model.shown_to("a")[0].messages[-1].text == "two"
    assert model.shown_to("lead")[1].messages[-1].parts[0].result == "good news"  # type: ignore[union-attr]


@pytest.mark.parametrize("hooks", [(), ("after_tool",), ("before_tool", "after_tool")])
async def test_the_answer_of_an_agent_that_was_handed_over_to(m: Harness, hooks: tuple[HookName, ...]):
    """A team that does not sum up ends with that answer, as the callbacks left it, and its own model is not asked again."""
    model = await cast(m, lead=[reply(call("transfer_to_a", note="yours")), "never"], a=["from a"])
    lead = agent("lead", agents=(agent("a"),), synthesize=False, hooks=hooks)
    execution_id = await play(m, lead)
    for hook in hooks:
        task = await m.take(f"lead.@{hook}")
        changes = {"result": "from a, mended"} if hook == "after_tool" else None
        await m.hand_in(task, {"changes": changes})
    view = await m.ended(execution_id)
    assert view.output == ("from a, mended" if hooks else "from a")
    assert len(model.shown_to("lead")) == 1
