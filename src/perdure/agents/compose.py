"""Agents made in one line: of a function, of a worker for many parts, of tools for a plan."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from perdure.agents.agent import Agent
from perdure.agents.calling import Callee
from perdure.agents.models import ModelLike
from perdure.agents.plan_steps import Context, Plan
from perdure.agents.strategy import Strategy
from perdure.agents.team_tools import agent_tool
from perdure.agents.tools import ToolDef
from perdure.core.errors import DefinitionError


@overload
def agent(func: Callable[..., Any], /) -> Agent: ...


@overload
def agent(
    func: None = None, /, *, name: str | None = ..., **options: Any
) -> Callable[[Callable[..., Any]], Agent]: ...


def agent(
    func: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any
) -> Agent | Callable[[Callable[..., Any]], Agent]:
    """Make an agent of a function: `@agent(model="openai/gpt-5-mini", tools=[search])`.

    What the function returns are the instructions, asked for as those of `Agent(instructions=function)`; its docstring
    is the instructions when it returns None, and so a function needs no body.

    Args:
        func: a function without parameters, or with a `ToolContext`.
        name: the function's own name by default.
        options: as of `Agent`, without `instructions`.

    Raises:
        DefinitionError: as `Agent`; E0101 a function that says nothing.
    """

    def decorate(function: Callable[..., Any]) -> Agent:
        given = name if name is not None else getattr(function, "__name__", "")
        if "instructions" in options:
            raise DefinitionError(
                "E0101",
                "The function is the instructions of the agent",
                where=f"agent {given!r}",
                fix="Return them from the function, or write Agent(..., instructions=...).",
            )
        docstring = inspect.getdoc(function) or ""
        return Agent(given, instructions=_or_docstring(function, docstring, given), **options)

    return decorate if func is None else decorate(func)


def _or_docstring(function: Callable[..., Any], docstring: str, name: str) -> Callable[..., Any]:
    """The function, with its docstring in place of None."""
    callee = Callee.read(function, "instructions function", f"agent {name!r}", most=2)
    if not docstring:
        return function
    if callee.needed or callee.context is not None or inspect.iscoroutinefunction(function):
        return function  # a worker asks it, and a forgotten return should be said there

    @functools.wraps(function)
    def instructions() -> Any:
        returned = function()
        return docstring if returned is None else returned

    return instructions


_SCATTER = """You solve a large problem by dividing it.

1. Divide the problem into parts that do not depend on each other.
2. Call the tool {tool} once for each part, all calls in one answer, so that they run at the same time. Each request must \
hold all that is needed: the parts know nothing of each other.
3. When all have answered, put what they found together into one answer. Say what is missing if a part failed."""


def scatter_gather(
    name: str,
    worker: Agent,
    *,
    model: str | ModelLike | None = None,
    instructions: str = "",
    tools: Sequence[ToolDef[..., Any]] | None = None,
    retry_count: int = 0,
    retry_delay_seconds: float = 2,
    timeout_seconds: float = 300,
    **options: Any,
) -> Agent:
    """An agent that divides a problem, gives each part to an execution of *worker*, all at once, and joins what they find.

    Args:
        name: of the agent that divides and joins.
        worker: who works on one part.
        model: of the agent that divides; the worker's by default.
        instructions: more for it, after how to divide.
        tools: more tools for it.
        retry_count: how often a part that failed is tried again.
        retry_delay_seconds: the wait before the first retry.
        timeout_seconds: limit of the whole; 0: no limit.
        options: as of `Agent`.

    Raises:
        DefinitionError: as `Agent` and `agent_tool`.
    """
    part = agent_tool(worker, retry_count=retry_count, retry_delay_seconds=retry_delay_seconds)
    if model is None:
        model = worker.model_choice
        options.setdefault("base_url", worker.base_url)
    text = _SCATTER.format(tool=part.name)
    return Agent(
        name,
        model,
        f"{text}\n\n{instructions}" if instructions else text,
        [part, *(tools or ())],
        timeout_seconds=timeout_seconds,
        **options,
    )


_PLANNER = (
    "You plan how to do what you are asked with the tools that you are told of. You do not do it yourself."
)


def plan_execute(
    name: str,
    *,
    tools: Sequence[ToolDef[..., Any]],
    planner_instructions: str = "",
    fallback_instructions: str | None = None,
    model: str | ModelLike = "",
    fallback_max_turns: int | None = None,
    planner_context: Sequence[str | Context] | None = None,
    plan: Plan | Mapping[str, Any] | None = None,
    **options: Any,
) -> Agent:
    """An agent of the strategy `plan_execute` with its planner, and a fallback if one is wanted.

    Args:
        name: of the agent; the planner is `<name>_planner`, the fallback `<name>_fallback`.
        tools: what a plan may call, and the fallback too.
        planner_instructions: how to plan.
        fallback_instructions: of the agent that goes on when the plan fails; None: there is none.
        model: of all of them.
        fallback_max_turns: limit of the fallback's turns.
        planner_context: texts that the planner goes by.
        plan: a fixed plan; then there is no planner.
        options: as of `Agent`.

    Raises:
        DefinitionError: as `Agent`.
    """
    base_url = options.get("base_url")
    planner = fallback = None
    if plan is None:
        planner = Agent(f"{name}_planner", model, planner_instructions or _PLANNER, base_url=base_url)
    if fallback_instructions is not None:
        fallback = Agent(f"{name}_fallback", model, fallback_instructions, tools, base_url=base_url)
    return Agent(
        name,
        model,
        tools=tools,
        strategy=Strategy.PLAN_EXECUTE,
        planner=planner,
        fallback=fallback,
        fallback_max_turns=fallback_max_turns,
        planner_context=planner_context,
        plan=plan,
        **options,
    )
