"""Which functions a worker runs: those of an agent and of all agents below it, by the names of their queues."""

import contextvars
import functools
import inspect
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.calling import Call
from perdure.agents.functions import Served, Steps, functions_of
from perdure.agents.signatures import innermost
from perdure.core.errors import PerdureError
from perdure.worker.memories import memory_functions
from perdure.worker.threads import Threads


def queue_name(agent: str, tool: str) -> str:
    """Where the tasks of a tool or a function are offered: those of two agents with one name never mix."""
    return f"{agent}.{tool}"


def queue_functions(agent: Agent) -> dict[str, Served]:
    """The functions of the agent and of all agents below it that are in this process, by queue name."""
    found: dict[str, Served] = {
        queue_name(name, function): served
        for name, functions in functions_of(agent).items()
        for function, served in functions.items()
    }
    for one in agent.tree():
        if one.semantic_memory is not None:
            served = memory_functions(one.semantic_memory, one.where)
            found |= {queue_name(one.name, function.name): function for function in served}
    return found


def metadata_of(agent: Agent) -> dict[str, dict[str, Any]]:
    """The metadata of the agent and of all agents below it, by name, for `ToolContext.metadata`."""
    return {one.name: one.metadata for one in agent.tree() if not one.external}


def dependencies_of(agent: Agent) -> dict[str, dict[str, Any]]:
    """Objects of this process that the agent and all agents below it were given, by name."""
    return {one.name: one.dependencies for one in agent.tree() if one.dependencies}


async def answer_of(steps: Steps, threads: Threads) -> dict[str, Any]:
    """Make the calls of a function that is no tool, one after the other; what a call raises is raised here.

    A plain function runs in a thread; a coroutine function, and whatever else returns something to await, in this loop.
    """
    value: Any = None
    failed: Exception | None = None
    while True:
        try:
            call = steps.send(value) if failed is None else steps.throw(failed)
        except StopIteration as end:
            answer: dict[str, Any] = end.value
            return answer
        value = failed = None
        try:
            value = await _made(call, threads)
        except PerdureError as error:  # the function may go on without it; else it is raised again
            failed = error


async def _made(call: Call, threads: Threads) -> Any:
    if inspect.iscoroutinefunction(innermost(call.func)):
        return await call.func(*call.args, **call.kwargs)
    variables = contextvars.copy_context()
    value = await threads.run(functools.partial(variables.run, call.func, *call.args, **call.kwargs))
    return await value if inspect.isawaitable(value) else value
