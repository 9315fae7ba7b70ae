"""Functions that workers run for agents: what they are given, what they may return, and which there are."""

import inspect
from typing import Any

import pytest

from perdure.agents.agent import Agent
from perdure.agents.callbacks import CallbackHandler
from perdure.agents.context import ToolContext
from perdure.agents.definitions import agent_definition
from perdure.agents.functions import WorkerFunction, functions_of
from perdure.agents.guardrails import Guardrail, GuardrailResult, RegexGuardrail
from perdure.agents.handoffs import OnCondition, OnTextMention, TextGate
from perdure.agents.team_tools import agent_tool, human_tool
from perdure.agents.tools import tool
from perdure.core.errors import PerdureError

MODEL = "mock/echo"
CONTEXT = ToolContext(agent_name="a", execution_id="x1")


@tool
def search(text: str) -> str:
    """Search."""
    return text


def answer(agent: Agent, name: str, arguments: dict[str, Any]) -> Any:
    """What a worker would hand in for this function, of plain functions only."""
    function = functions_of(agent)[agent.name][name]
    assert isinstance(function, WorkerFunction)
    assert function.name == name
    steps = function.begin(arguments, CONTEXT)
    value = None
    while True:
        try:
            call = steps.send(value)
        except StopIteration as end:
            return end.value
        value = call.func(*call.args, **call.kwargs)
        assert not inspect.isawaitable(value)


def refused(agent: Agent, name: str, arguments: dict[str, Any]) -> PerdureError:
    """The error of a function that returned what it may not."""
    with pytest.raises(PerdureError) as caught:
        answer(agent, name, arguments)
    assert caught.value.code == "E0313"
    return caught.value


def team(router: Any) -> Agent:
    """A team with this router."""
    return Agent("t", agents=[Agent("a"), Agent("b")], strategy="router", router=router)


def test_functions_are_found_in_the_whole_tree():
    """Every agent's tools and functions are there, whatever way the agent belongs to the tree; nothing else is."""

    class Log(CallbackHandler):
        def on_tool_end(self, **more: Any) -> None:
            """Logs."""

    helper = Agent("helper", instructions=lambda context: "x")
    planner = Agent("planner", MODEL, "Plan.", [search])
    planned = Agent("planned", strategy="plan_execute", tools=[search], planner=planner)
    stage = Agent("stage", MODEL, "Work.", gate=lambda out: True, callbacks=[Log()])
    picker = Agent("picker", MODEL, "Pick.", stop_when=lambda state: True)
    guard = Guardrail(len)
    swarm = Agent(
        "swarm",
        MODEL,
        tools=[agent_tool(helper), human_tool("ask", "Ask.")],
        agents=[stage, Agent("far")],
        strategy="swarm",
        handoffs=[OnCondition("stage", lambda said: True), OnTextMention("far", "x")],
        guardrails=[guard, Guardrail(name="elsewhere"), RegexGuardrail("x")],
    )
    root = Agent("root", agents=[swarm, planned], strategy="router", router=picker, gate=TextGate("x"))
    found = functions_of(root)
    assert {name: set(functions) for name, functions in found.items()} == {
        "swarm": {"@handoff.stage", "@guard.len"},
        "helper": {"@instructions"},
        "stage": {"@gate", "@after_tool"},
        "picker": {"@stop_when"},
        "planned": {"search"},
        "planner": {"search"},
    }
    assert found["planned"]["search"] is search
    assert functions_of(team(lambda prompt: "a"))["t"].keys() == {"@router"}


def test_a_router_takes_as_much_as_it_wants():
    """It is given the prompt, the conversation and the turn, by place, and the context where it asks for it."""

    def by_turn(prompt: str, conversation: str, turn: int, *, context: ToolContext) -> str:
        assert (prompt, conversation, context) == ("p", "c", CONTEXT)
        return "ab"[turn - 1]

    asked = {"prompt": "p", "conversation": "c", "turn": 2}
    assert answer(team(by_turn), "@router", asked)["agent"] == "b"
    assert answer(team(lambda prompt: prompt and "a"), "@router", asked)["agent"] == "a"
    assert answer(team(lambda *values: "ab"[len(values) - 2]), "@router", asked)["agent"] == "b"
    assert answer(team(lambda prompt: Agent("b")), "@router", asked)["agent"] == "b"
    assert answer(team(lambda prompt: None), "@router", asked)["agent"] == "DONE"
    assert answer(team(lambda prompt: "DONE"), "@router", {"prompt": "p"})["agent"] == "DONE"


def test_a_router_that_sees_only_the_prompt_routes_once():
    """Its pick is final; one that takes the conversation is asked again, until it says that it is done."""
    asked = {"prompt": "p", "conversation": "c", "turn": 1}

    def with_context(prompt: str, context: ToolContext) -> str:
        return "a"

    for once in (lambda prompt: "a", with_context, lambda: "a"):
        assert answer(team(once), "@router", asked) == {"agent": "a", "final": True}
    for again in (
        lambda prompt, conversation: "a",
        lambda prompt, conversation="": "a",
        lambda prompt, conversation, turn: "a",
        lambda *values: "a",
    ):
        assert answer(team(again), "@router", asked) == {"agent": "a", "final": False}
    assert answer(team(lambda prompt, conversation: None), "@router", asked) == {
        "agent": "DONE",
        "final": True,
    }


@pytest.mark.parametrize("picked", ["c", "A", "", True, 0, ["a"], {"agent": "a"}])
def test_a_router_must_name_a_member(picked: Any):
    """A name that nobody has is an error, and no other agent takes its place."""
    assert "a, b" in refused(team(lambda prompt: picked), "@router", {"prompt": "p"}).fix


def test_a_gate_sees_the_output():
    """As `{"result": text}`, or as the text when its parameter is a str; JSON output is given as its text."""
    seen: list[Any] = []

    def text_gate(output: str) -> bool:
        seen.append(output)
        return True

    def dict_gate(output: Any) -> bool:
        seen.append(output)
        return False

    assert answer(Agent("a", MODEL, gate=text_gate), "@gate", {"output": {"b": 1}}) == {"open": True}
    assert answer(Agent("a", MODEL, gate=dict_gate), "@gate", {"output": "x"}) == {"open": False}
    assert seen == ['{"b":1}', {"result": "x"}]


@pytest.mark.parametrize("value", [None, "no", 1, 0, []])
def test_only_true_and_false_are_verdicts(value: Any):
    """A gate, a stop, a handoff and a check that return something else are errors: never a yes, and never a no."""
    agent = Agent(
        "a",
        MODEL,
        agents=[Agent("b")],
        strategy="swarm",
        gate=lambda _: value,
        stop_when=lambda _: value,
        handoffs=[OnCondition("b", lambda _: value)],
        guardrails=[Guardrail(lambda _: value, name="g")],
    )
    refused(agent, "@gate", {"output": "x"})
    refused(agent, "@stop_when", {"result": "x"})
    refused(agent, "@handoff.b", {"text": "x"})
    refused(agent, "@guard.g", {"content": "x"})


def test_stop_and_handoff_are_given_the_whole_state():
    """One dict with all that the machine sends."""
    agent = Agent(
        "a",
        MODEL,
        agents=[Agent("b")],
        strategy="swarm",
        stop_when=lambda state: state["iteration"] > 2 and state["messages"] == [] and state["result"] == "r",
        handoffs=[OnCondition("b", lambda said: said["text"] == "go" and said["agent"] == "a")],
    )
    state = {"result": "r", "messages": [], "iteration": 3}
    assert answer(agent, "@stop_when", state) == {"stop": True}
    assert answer(agent, "@handoff.b", {"text": "go", "agent": "a", "messages": []}) == {"handoff": True}


def test_a_check_returns_a_bool_or_a_result():
    """What it found crosses the wire with its message and what should stand in the place."""

    @Guardrail
    def strict(text: str, context: ToolContext) -> GuardrailResult:
        return GuardrailResult(False, "no " + context.agent_name, {"fixed": text})

    agent = Agent("a", MODEL, guardrails=[strict, Guardrail(lambda text: True, name="plain")])
    asked = {"content": "x", "position": "output", "tool": None}
    assert answer(agent, "@guard.strict", asked) == {
        "passed": False,
        "message": "no a",
        "fixed": {"fixed": "x"},
    }
    assert answer(agent, "@guard.plain", asked) == {"passed": True, "message": "", "fixed": None}
    maybe = Guardrail(lambda text: GuardrailResult("yes"), name="maybe")
    refused(Agent("a", MODEL, guardrails=[maybe]), "@guard.maybe", asked)


def test_a_check_of_a_tool_belongs_to_each_agent_that_has_the_tool():
    """The function is served under the agent's name."""

    @tool(guardrails=[Guardrail(lambda value: value == {"n": 1}, "input", name="one")])
    def count(n: int) -> int:
        """Count."""
        return n

    agent = Agent("a", MODEL, tools=[count])
    assert answer(agent, "@guard.one", {"content": {"n": 1}, "position": "input", "tool": "count"})["passed"]
    assert agent_definition(agent).tools[0].guardrails[0].position == "input"


def test_instructions_are_asked_for_with_the_context():
    """The context goes to the first parameter, or where it is annotated; the input to the other."""

    def swapped(text: str, about: ToolContext) -> str:
        return f"{about.execution_id}: {text}"

    for function, expected in (
        (lambda c: c.execution_id, "x1"),
        (lambda c, text: f"{c.execution_id}: {text}", "x1: hi"),
        (swapped, "x1: hi"),
        (lambda *, context: context.agent_name, "a"),
    ):
        agent = Agent("a", MODEL, function)
        assert answer(agent, "@instructions", {"input": "hi"}) == {"instructions": expected}
    refused(Agent("a", MODEL, lambda c: None), "@instructions", {"input": ""})
    assert "@instructions" not in functions_of(Agent("a", MODEL, lambda: "x", [search]))["a"]


def test_the_context_is_found_by_its_name_too():
    """An annotation that cannot be resolved here counts by what it says; a function of C gets one value."""

    def written(text: "Unknown", about: "far.ToolContext | None" = None) -> str:  # noqa: F821
        assert about is CONTEXT
        return text

    def by_place(context, /, *texts) -> str:
        return f"{context.agent_name}{len(texts)}"

    agent = Agent("a", MODEL, written)
    assert answer(agent, "@instructions", {"input": "hi"}) == {"instructions": "hi"}
    assert answer(Agent("a", MODEL, by_place), "@instructions", {"input": "hi"}) == {"instructions": "a1"}
    known = {"a": True}.__getitem__
    assert answer(Agent("a", MODEL, guardrails=[Guardrail(known, name="g")]), "@guard.g", {"content": "a"})[
        "passed"
    ]
    assert answer(team({"p": "a"}.get), "@router", {"prompt": "p"})["agent"] == "a"


class Upper(CallbackHandler):
    """Changes everything that may be changed."""

    def on_agent_start(self, **values: Any) -> dict[str, Any]:
        return {"input": values["input"].upper()}

    def on_agent_end(self, output: Any) -> dict[str, Any]:
        return {"output": [output]}

    def on_model_start(self, turn: int, instructions: str, context: ToolContext) -> dict[str, Any]:
        return {"instructions": f"{instructions} {turn}{context.agent_name}".strip()}

    def on_model_end(self, *, text: str, tool_calls: list[Any], **more: Any) -> dict[str, Any] | None:
        return None if tool_calls else {"text": text + "!"}

    def on_tool_start(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"arguments": arguments | {tool: len(more)}}

    def on_tool_end(self, result: Any, **more: Any) -> dict[str, Any]:
        return {"result": None}


def test_callbacks_chain():
    """Each handler sees what the one before made; what nobody changes is null; a change to null is a change."""
    agent = Agent("a", MODEL, callbacks=[Upper(), CallbackHandler(), Upper()])
    assert agent_definition(agent).hooks == (
        "before_agent",
        "after_agent",
        "before_model",
        "after_model",
        "before_tool",
        "after_tool",
    )
    assert answer(agent, "@before_agent", {"input": "x"}) == {"changes": {"input": "X"}}
    assert answer(agent, "@after_agent", {"input": "x", "output": 1}) == {"changes": {"output": [[1]]}}
    sent = {"turn": 1, "messages": []}
    assert answer(agent, "@before_model", sent) == {"changes": {"instructions": "1a 1a"}}
    assert answer(agent, "@after_model", {"turn": 1, "text": "x", "tool_calls": []}) == {
        "changes": {"text": "x!!"}
    }
    assert answer(agent, "@after_model", {"turn": 1, "text": "x", "tool_calls": [1]}) == {"changes": None}
    called = {"tool": "t", "call_id": "c", "arguments": {"n": 1}}
    assert answer(agent, "@before_tool", called) == {"changes": {"arguments": {"n": 1, "t": 1}}}
    assert answer(agent, "@after_tool", called | {"result": 5}) == {"changes": {"result": None}}


@pytest.mark.parametrize(
    "returned", [{}, {"text": 1}, {"output": "x"}, {"text": "x", "more": 1}, "x", True, [("text", "x")]]
)
def test_a_callback_may_change_its_one_key_only(returned: Any):
    """Another key, another type, or no dict is an error: a change that is dropped in silence would be worse."""

    class Wrong(CallbackHandler):
        def on_model_end(self, **more: Any) -> Any:
            return returned

    sent = {"turn": 1, "text": "x", "tool_calls": []}
    error = refused(Agent("a", MODEL, callbacks=[Wrong()]), "@after_model", sent)
    assert error.fix == 'Return None, or {"text": str}.'


def test_handlers_without_methods_cost_nothing():
    """No function is served for what nobody overrides, and the definition names none."""
    agent = Agent("a", MODEL, "Work.", callbacks=[CallbackHandler()])
    assert functions_of(agent) == {}
    assert agent_definition(agent).hooks == ()
    handler = CallbackHandler()
    assert handler.on_agent_start(input="") is None
