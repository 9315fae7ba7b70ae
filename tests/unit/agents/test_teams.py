"""Teams: what is checked when they are made, what is inherited, and what their definitions say."""

import dataclasses
from typing import Any

import msgspec
import pytest

from perdure.agents.agent import Agent
from perdure.agents.budget import Budget
from perdure.agents.callbacks import CallbackHandler
from perdure.agents.compose import agent, plan_execute, scatter_gather
from perdure.agents.definitions import agent_definition
from perdure.agents.guardrails import Guardrail, RegexGuardrail
from perdure.agents.handoffs import OnCondition, OnTextMention, OnToolResult, TextGate
from perdure.agents.memory import ConversationMemory
from perdure.agents.plan_steps import Context, Op, Plan, Step
from perdure.agents.strategy import Strategy
from perdure.agents.team_tools import agent_tool
from perdure.agents.template import PromptTemplate
from perdure.agents.termination import MaxMessageTermination
from perdure.agents.tools import tool
from perdure.compiler.decode import decode_definition
from perdure.core import conditions
from perdure.core.definition import AgentDefinition, BudgetDefinition, MemoryDefinition, PrefilledCall
from perdure.core.errors import PerdureError

MODEL = "openai/gpt-5-mini"


@tool
def search(text: str) -> str:
    """Search."""
    return text


@dataclasses.dataclass
class Scripted:
    model: str = "mock/script"
    settings: Any = dataclasses.field(default_factory=lambda: {"script": ["hello"]})


def member(name: str, **options: Any) -> Agent:
    """An agent with instructions, and so not external."""
    return Agent(name, **{"instructions": "Work.", **options})


def refused(code: str, *arguments: Any, **options: Any) -> PerdureError:
    """The error with which an agent of these arguments is refused."""
    with pytest.raises(PerdureError) as caught:
        Agent(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def test_a_strategy_is_its_text():
    """A strategy may be given as a member or as its text, and nothing else."""
    team = [member("a"), member("b")]
    assert Agent("t", agents=team, strategy="parallel").strategy is Strategy.PARALLEL
    assert Agent("t", MODEL, agents=team).strategy is Strategy.HANDOFF
    assert "handoff" in refused("E0106", "t", agents=team, strategy="both").fix


def test_what_belongs_to_a_strategy_is_refused_elsewhere():
    """Options of another strategy are an error, never dropped in silence."""
    team = [member("a"), member("b")]
    refused("E0101", "t", MODEL, strategy="sequential")
    refused("E0101", "t", MODEL, agents=team, strategy="router")
    refused("E0101", "t", MODEL, agents=team, router=lambda prompt: "a")
    refused("E0101", "t", MODEL, agents=team, handoffs=[OnTextMention("a", "x")])
    refused("E0101", "t", agents=team, strategy="parallel", allowed_transitions={"a": ["b"]})
    refused("E0101", "t", MODEL, agents=team, planner=member("p"))
    refused("E0101", "t", MODEL, agents=team, fallback_max_turns=2)
    refused("E0106", "t", MODEL, agents=team, on_child_failure="skip")
    refused("E0106", "t", MODEL, agents=team, synthesize="yes")
    refused("E0101", "t", MODEL, strategy="plan_execute", tools=[search])
    refused("E0101", "t", MODEL, strategy="plan_execute", planner=member("p"))


def test_members_are_agents_with_names_of_their_own():
    """A member is an agent, no two agents of a tree share a name, and none is called DONE."""
    refused("E0101", "t", MODEL, agents=["a"])
    refused("E0106", "t", MODEL, agents="a")
    refused("E0103", "t", MODEL, agents=[member("a"), member("a")])
    refused("E0103", "t", MODEL, agents=[member("t")])
    refused("E0103", "t", MODEL, agents=[member("a", tools=[agent_tool(member("b"))]), member("b")])
    assert "router" in refused("E0104", "t", MODEL, agents=[member("Done")]).why
    shared = member("shared")
    Agent("t", MODEL, agents=[member("a", tools=[agent_tool(shared)]), shared, Agent("else")])


def test_names_in_options_are_those_of_the_team():
    """Handoffs, transitions, required and prefilled tools name what is there."""
    team = [member("a"), member("b")]
    assert (
        "a, b, t"
        in refused("E0101", "t", MODEL, agents=team, strategy="swarm", handoffs=[OnTextMention("c", "x")]).fix
    )
    refused("E0101", "t", agents=team, strategy="round_robin", allowed_transitions={"a": ["t"]})
    refused("E0106", "t", agents=team, strategy="round_robin", allowed_transitions=[("a", "b")])
    refused("E0106", "t", agents=team, strategy="round_robin", allowed_transitions={"a": "b"})
    refused("E0101", "t", MODEL, tools=[search], required_tools=["find"])
    refused("E0106", "t", MODEL, tools=[search], required_tools="search")
    refused("E0101", "t", MODEL, prefill_tools=[search.call(text="x")])
    refused("E0101", "t", MODEL, tools=[search], prefill_tools=[search])
    refused("E0106", "t", MODEL, tools=[search], prefill_tools=search.call(text="x"))
    refused("E0103", "t", MODEL, agents=team, strategy="swarm", handoffs=[OnCondition("a", len)] * 2)
    refused("E0101", "t", MODEL, agents=team, strategy="swarm", handoffs=["a"])
    refused("E0106", "t", MODEL, agents=team, strategy="swarm", handoffs="a")


def test_options_have_their_types():
    """What is of another type is an error that names the option."""
    for name, value in {
        "memory": [], "budget": 1, "termination": "DONE", "description": 1, "introduction": 2, "dependencies": [1],
        "masked_fields": "password", "guardrails": "x", "callbacks": "x", "include_contents": "some",
        "context_window_budget": 0, "plan": 1, "planner": "p", "fallback": 1, "planner_context": 1,
        "fallback_max_turns": 0,
    }.items():  # fmt: skip
        assert name in refused("E0106", "t", MODEL, **{name: value}).what
    refused("E0106", "t", MODEL, tools=[search], required_tools=[1])
    refused("E0101", "t", MODEL, callbacks=[CallbackHandler])
    refused("E0101", "t", MODEL, guardrails=[len])
    refused("E0101", "t", MODEL, stop_when="now")
    refused("E0101", "t", MODEL, stop_when=lambda a, b: True)
    refused("E0101", "t", MODEL, gate=dict)
    refused("E0101", "t", MODEL, instructions=lambda a, b, c: "x")


def test_two_guardrail_functions_of_one_name_are_refused():
    """An agent's guardrails and those of its tools share its queues, so that names must differ or mean the same."""

    def check(text: str) -> bool:
        return True

    @tool(guardrails=[Guardrail(check, "input")])
    def guarded(text: str) -> str:
        """Guarded."""
        return text

    Agent("t", MODEL, tools=[guarded], guardrails=[Guardrail(check)])
    refused("E0103", "t", MODEL, tools=[guarded], guardrails=[Guardrail(lambda _: True, name="check")])


def test_a_definition_says_everything_of_a_team():
    """Every option of a team is in its definition."""
    team = Agent(
        "team",
        MODEL,
        "Lead.",
        [search],
        [member("a", description="Does a."), Agent("else", description="Elsewhere.")],
        "swarm",
        handoffs=[OnToolResult("a", "search", "x"), OnTextMention("team", "y"), OnCondition("else", _yes)],
        allowed_transitions={"a": ["team"]},
        guardrails=[RegexGuardrail("secret", name="no_secret")],
        memory=ConversationMemory([{"role": "user", "content": "Hi."}], 5, 100),
        termination=MaxMessageTermination(3),
        stop_when=_yes,
        required_tools=[search],
        prefill_tools=[search.call(text="x")],
        gate=TextGate("STOP", case_sensitive=False),
        introduction="I lead.",
        include_contents="none",
        context_window_budget=1000,
        masked_fields=["card"],
        synthesize=False,
        budget=Budget(max_tokens=10),
        description="A team.",
    )
    made = agent_definition(team)
    assert made == AgentDefinition(
        name="team",
        model=MODEL,
        instructions="Lead.",
        tools=made.tools,
        agents=(
            AgentDefinition("a", MODEL, instructions="Work.", description="Does a."),
            AgentDefinition("else", external=True, description="Elsewhere."),
        ),
        strategy="swarm",
        handoffs=(
            conditions.OnToolResult("a", "search", "x"),
            conditions.OnTextMention("team", "y"),
            conditions.OnFunction("else"),
        ),
        transitions={"a": ("team",)},
        guardrails=made.guardrails,
        memory=MemoryDefinition(({"role": "user", "content": "Hi."},), 5, 100),
        termination=conditions.MaxMessages(3),
        stop_when=True,
        required_tools=("search",),
        prefill=(PrefilledCall("search", {"text": "x"}),),
        gate=conditions.TextGate("STOP", case_sensitive=False),
        introduction="I lead.",
        include_contents="none",
        context_window=1000,
        masked_fields=("card",),
        synthesize=False,
        budget=BudgetDefinition(max_tokens=10),
        description="A team.",
    )
    assert decode_definition(msgspec.json.encode(made)) == made
    assert [t.name for t in made.tools] == ["search"]
    assert [g.name for g in made.guardrails] == ["no_secret"]


def _yes(_: Any) -> bool:
    return True


def test_a_member_inherits_the_model_with_its_address_and_settings():
    """A sub-agent, router, agent tool or grandchild without a model has its team's; its own settings stay its own."""
    inner = Agent("inner", agents=[member("deep", model_settings={"seed": 2})], strategy="round_robin")
    made = agent_definition(
        Agent(
            "team",
            Scripted(),
            agents=[inner, member("own", model=MODEL)],
            strategy="router",
            router=member("picker"),
            tools=[agent_tool(member("helper_agent"))],
            base_url="http://localhost:1/v1",
            model_settings={"seed": 1},
        )
    )
    assert made.model_settings == {"script": ["hello"], "seed": 1}
    inner_made, own = made.agents
    assert inner_made.model == ""
    deep = inner_made.agents[0]
    assert (deep.model, deep.base_url) == ("mock/script", "http://localhost:1/v1")
    assert deep.model_settings == {"script": ["hello"], "seed": 2}
    assert (own.model, own.base_url, own.model_settings) == (MODEL, None, {})
    assert made.router is not None
    assert made.router.model == "mock/script"
    assert made.tools[0].agent is not None
    assert made.tools[0].agent.model == "mock/script"
    assert (made.tools[0].kind, made.tools[0].retry.max_attempts) == ("agent", 1)


@pytest.mark.parametrize("strategy", ["sequential", "parallel", "round_robin", "random", "manual"])
def test_a_team_that_never_speaks_needs_no_model(strategy: str):
    """A team of these strategies without a model has none; one that is to sum up needs one."""
    team = [member("a", model=MODEL)]
    made = agent_definition(Agent("t", agents=team, strategy=strategy))
    assert (made.model, made.agents[0].model) == ("", MODEL)
    with pytest.raises(PerdureError, match="has no model"):
        agent_definition(Agent("t", agents=team, strategy=strategy, synthesize=True))


@pytest.mark.parametrize("said", [None, True, False])
@pytest.mark.parametrize("strategy", ["handoff", "parallel", "round_robin", "swarm"])
def test_whether_a_team_sums_up_is_said_by_its_author(strategy: str, said: bool | None):
    """The definition has the author's own word; None leaves it to the strategy, in the server."""
    team = Agent("t", MODEL, agents=[member("a")], strategy=strategy, synthesize=said)
    assert agent_definition(team).synthesize is said


def test_a_router_without_a_model_of_its_own_needs_none():
    """The function picks, and nobody sums up."""
    made = agent_definition(Agent("t", agents=[member("a", model=MODEL)], strategy="router", router=_yes))
    assert (made.model, made.synthesize) == ("", None)


def test_a_swarm_without_a_model_has_a_members():
    """The head of a swarm speaks too, with the model of the first member that has one."""
    made = agent_definition(Agent("t", agents=[Agent("e"), member("a", model=MODEL)], strategy="swarm"))
    assert made.model == MODEL


def test_a_swarm_of_teams_needs_no_model():
    """Without a word of its own a swarm asks no model, and its teams have theirs further down."""
    inner = Agent("inner", agents=[member("a", model=MODEL)], strategy="sequential")
    assert agent_definition(Agent("t", agents=[inner], strategy="swarm")).model == ""
    with pytest.raises(PerdureError, match="has no model"):
        agent_definition(Agent("t", instructions="Lead.", agents=[inner], strategy="swarm"))


def test_an_agent_that_speaks_needs_a_model():
    """Without a model of its own or one to inherit it is refused, wherever it stands."""
    for team in (
        Agent("t", agents=[member("a", model=MODEL)]),
        Agent("t", agents=[member("a")], strategy="sequential"),
        Agent("t", agents=[member("a", model=MODEL)], strategy="router", router=member("r")),
        Agent("external"),
    ):
        with pytest.raises(PerdureError) as caught:
            agent_definition(team)
        assert caught.value.code == "E0107"


def test_a_pipeline_is_flat_and_named_by_its_stages():
    """`a >> b >> c` is one sequential team, however it is bracketed; a team with options of its own stays a stage."""
    a, b, c = member("a", model=Scripted()), member("b"), member("c", gate=TextGate("NO"))
    for pipeline in ((a >> b) >> c, a >> (b >> c)):
        assert (pipeline.name, pipeline.agents) == ("a_b_c", (a, b, c))
        made = agent_definition(pipeline)
        assert made.strategy == "sequential"
        assert [stage.model for stage in made.agents] == ["mock/script"] * 3
        assert made.agents[1].model_settings == {"script": ["hello"]}
    own = Agent("own", agents=[b], strategy="sequential", guardrails=[RegexGuardrail("x")])
    assert (a >> own).agents == (a, own)
    with pytest.raises(TypeError):
        a >> "b"
    with pytest.raises(PerdureError) as caught:
        member("x" * 40) >> member("y" * 40)
    assert caught.value.code == "E0104"


def test_external_means_that_only_the_name_is_given():
    """An agent without model, instructions, tools and agents is external; with any of them it is not."""
    assert Agent("a").external
    assert Agent("a", description="Known.").external
    assert not member("a").external
    assert not Agent("a", tools=[search]).external
    assert not Agent("a", agents=[Agent("b")]).external


def test_the_tree_has_each_agent_once():
    """Sub-agents, router, planner, fallback and agents that are tools are in it."""
    shared = member("shared")
    planned = plan_execute("p", tools=[search], model=MODEL, fallback_instructions="Do it.")
    team = Agent(
        "t",
        MODEL,
        tools=[agent_tool(shared)],
        agents=[planned, shared],
        strategy="router",
        router=member("r"),
    )
    assert [one.name for one in team.tree()] == ["t", "p", "p_planner", "p_fallback", "shared", "r"]
    assert (
        repr(team)
        == "Agent('t', model='openai/gpt-5-mini', tools=[shared], agents=[p, shared], strategy='router')"
    )


def test_a_function_is_an_agent():
    """`@agent` takes the name and the instructions from the function: what it returns, or its docstring."""

    @agent
    def plain():
        """You are plain."""

    @agent(name="other", model=MODEL, max_turns=3)
    def returning():
        """Unused."""
        return "Be."

    def nothing():
        return None

    @agent(model=MODEL)
    def asked(context):
        """Not the instructions: the function takes a context."""

    assert (plain.name, agent_definition(Agent("t", MODEL, agents=[plain])).agents[0].instructions) == (
        "plain",
        "You are plain.",
    )
    made = agent_definition(returning)
    assert (made.name, made.instructions, made.max_turns) == ("other", "Be.", 3)
    assert agent_definition(asked).instructions_function
    with pytest.raises(PerdureError, match="returned a NoneType"):
        agent_definition(agent(model=MODEL)(nothing))
    with pytest.raises(PerdureError) as caught:
        agent(instructions="x")(nothing)
    assert caught.value.code == "E0101"


def test_instructions_may_be_a_template_or_a_function_of_the_execution():
    """A template is filled in; a function with a context is left to the worker."""
    made = agent_definition(Agent("a", MODEL, PromptTemplate("Hello {{name}}", {"name": "Ada"})))
    assert (made.instructions, made.instructions_function) == ("Hello Ada", False)
    made = agent_definition(Agent("a", MODEL, lambda context: "x"))
    assert (made.instructions, made.instructions_function) == ("", True)


def test_scatter_gather_calls_its_worker_as_a_tool():
    """The coordinator has the worker's model and a tool of its name; what it is told names the tool."""
    worker = member("part", model=Scripted())
    made = agent_definition(
        scatter_gather("all", worker, instructions="Be brief.", tools=[search], retry_count=2)
    )
    assert [t.name for t in made.tools] == ["part", "search"]
    assert made.tools[0].retry.max_attempts == 3
    assert (made.model, made.timeout_ms) == ("mock/script", 300_000)
    assert "the tool part" in made.instructions
    assert made.instructions.endswith("Be brief.")
    assert agent_definition(scatter_gather("all", worker, model=MODEL)).model == MODEL


def test_plan_execute_has_a_planner_or_a_plan():
    """The planner, the fallback and the texts are there; a fixed plan needs no planner, but tools that exist."""
    made = agent_definition(
        plan_execute(
            "p",
            tools=[search],
            model=MODEL,
            planner_instructions="Plan.",
            fallback_instructions="Do.",
            fallback_max_turns=4,
            planner_context=["Known.", Context("Long text", "Title", 4)],
        )
    )
    assert (made.strategy, made.fallback_max_turns, made.model) == ("plan_execute", 4, MODEL)
    assert made.planner is not None
    assert made.fallback is not None
    assert (made.planner.instructions, made.fallback.instructions) == ("Plan.", "Do.")
    assert made.planner_context == ("Known.", "Title\n\nLong\n[the rest is left out]")
    plan = Plan([Step("one", [Op(search, {"text": "x"})])])
    made = agent_definition(plan_execute("p", tools=[search], plan=plan))
    assert (made.plan, made.planner, made.model) == (plan.to_json(), None, "")
    assert agent_definition(plan_execute("p", tools=[search], plan=plan.to_json())).plan == plan.to_json()
    planner = member("planner", model=MODEL)
    assert (
        agent_definition(Agent("p", tools=[search], strategy="plan_execute", planner=planner)).model == MODEL
    )
    with pytest.raises(PerdureError, match="does not have"):
        plan_execute("p", tools=[search], plan=Plan([Step("one", Op("find"))]))
