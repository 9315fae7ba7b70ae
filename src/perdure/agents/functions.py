"""Functions that workers run for an agent, beside its tools: what each is given and what it answers, as JSON.

| function | is given | answers |
|---|---|---|
| `@router` | `prompt`, `conversation`, `turn` | `agent`: a name, or `DONE`; `final`: it is not asked again |
| `@gate` | `output` | `open` |
| `@stop_when` | `result`, `messages`, `iteration` | `stop` |
| `@guard.NAME` | `content`, `position`, `tool` | `passed`, `message`, `fixed` |
| `@handoff.TARGET` | `text`, `agent`, `messages` | `handoff` |
| `@instructions` | `input` | `instructions` |
| `@before_agent`, ... | the keyword arguments of `CallbackHandler`'s methods | `changes`: a dict, or null |

Whatever is not as it should be is an error, and the machine fails closed. A tool's name cannot begin with `@`, so
that none is ever mistaken for one of these.

Nothing here calls the user's function: a function is a generator that yields each `Call`, is sent what came of it,
and returns the answer. A worker drives it.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from perdure.agents.agent import Agent
from perdure.agents.callbacks import METHODS, hooks_of, overrides
from perdure.agents.calling import Call, Callee
from perdure.agents.context import ToolContext
from perdure.agents.guardrails import GuardrailResult, guard_functions
from perdure.agents.handoffs import OnCondition, TextGate
from perdure.agents.strategy import DONE
from perdure.agents.tools import ToolDef
from perdure.agents.values import to_json_value
from perdure.core.definition import HookName
from perdure.core.errors import ToolError
from perdure.core.ids import canonical_json

Steps: TypeAlias = Generator[Call, Any, dict[str, Any]]
Begin: TypeAlias = Callable[[dict[str, Any], ToolContext], Steps]


@dataclass(frozen=True)
class WorkerFunction:
    """A function that is no tool.

    Attributes:
        name: as in the table above.
        where: what it is for and where it is written.
        begin: from the JSON arguments and the context to the calls to make; returns the JSON answer. Raises
            ToolError E0313 when a call returned what it may not.
    """

    name: str
    where: str
    begin: Begin


Served: TypeAlias = ToolDef[..., Any] | WorkerFunction


def functions_of(agent: Agent) -> dict[str, dict[str, Served]]:
    """What workers run for an agent and all agents below it: agent's name -> function's name -> function.

    Tools and checks whose functions are elsewhere are left out, and so are agents that have nothing for a worker.
    """
    found: dict[str, dict[str, Served]] = {}
    for one in agent.tree():
        functions: dict[str, Served] = {tool.name: tool for tool in one.tools if tool.func is not None}
        functions.update({function.name: function for function in _own_functions(one)})
        if functions:
            found[one.name] = functions
    return found


def _own_functions(agent: Agent) -> list[WorkerFunction]:
    found: list[WorkerFunction] = []
    if agent.router is not None and not isinstance(agent.router, Agent):
        found.append(_router(agent, agent.router))
    if agent.gate is not None and not isinstance(agent.gate, TextGate):
        found.append(_gate(agent, agent.gate))
    if agent.stop_when is not None:
        found.append(_verdict(agent, "@stop_when", "stop_when", agent.stop_when, "stop"))
    if agent.instructions_callee is not None:
        found.append(_instructions(agent.instructions_callee))
    for handoff in agent.handoffs:
        if isinstance(handoff, OnCondition):
            name, what = f"@handoff.{handoff.target}", f"handoff to {handoff.target}"
            found.append(_verdict(agent, name, what, handoff.condition, "handoff"))
    guardrails = [*agent.guardrails, *(g for tool in agent.tools for g in tool.guardrails)]
    found += [_guard(agent, name, f) for name, f in guard_functions(guardrails, agent.where).items()]
    return found + [_hook(agent, hook) for hook in hooks_of(agent.callbacks)]


def _router(agent: Agent, function: Any) -> WorkerFunction:
    callee = Callee.read(function, "router", agent.where, most=3)
    # One that never sees what was said could only pick the same agent again.
    final = len(callee.places) <= 1 and not callee.takes_all
    members = [member.name for member in agent.agents]

    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        values = arguments["prompt"], arguments.get("conversation", ""), arguments.get("turn", 1)
        picked = yield callee.call(context, *values)
        if isinstance(picked, Agent):
            picked = picked.name
        if picked is None or picked == DONE:
            return {"agent": DONE, "final": True}
        if picked not in members:
            raise _refused(
                callee.where, "router", picked, f"one of {', '.join(members)}, or {DONE!r} or None to end"
            )
        return {"agent": picked, "final": final}

    return WorkerFunction("@router", callee.where, begin)


def _gate(agent: Agent, function: Any) -> WorkerFunction:
    callee = Callee.read(function, "gate", agent.where, most=1)

    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        output = arguments["output"]
        text = output if isinstance(output, str) else canonical_json(output).decode()
        value = text if callee.first_hint is str else {"result": text}
        return {"open": _bool((yield callee.call(context, value)), "gate", callee.where)}

    return WorkerFunction("@gate", callee.where, begin)


def _verdict(agent: Agent, name: str, what: str, function: Any, key: str) -> WorkerFunction:
    """A function that is given all arguments as one dict and says yes or no."""
    callee = Callee.read(function, what, agent.where, most=1)

    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        return {key: _bool((yield callee.call(context, arguments)), what, callee.where)}

    return WorkerFunction(name, callee.where, begin)


def _instructions(callee: Callee) -> WorkerFunction:
    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        text = arguments.get("input", "")
        # Without a hint the first parameter is the context, as if it were annotated.
        values = (text,) if callee.context is not None else (context, text)
        value = yield callee.call(context, *values)
        if not isinstance(value, str):
            raise _refused(callee.where, "instructions function", value, "a text")
        return {"instructions": value}

    return WorkerFunction("@instructions", callee.where, begin)


def _guard(agent: Agent, name: str, function: Any) -> WorkerFunction:
    what = f"guardrail {name}"
    callee = Callee.read(function, what, agent.where, most=1)

    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        value = yield callee.call(context, arguments["content"])
        found = GuardrailResult(value) if isinstance(value, bool) else value
        if not isinstance(found, GuardrailResult) or not isinstance(found.message, str):
            raise _refused(callee.where, what, value, "a GuardrailResult, or True or False")
        passed = _bool(found.passed, what, callee.where)
        return {"passed": passed, "message": found.message, "fixed": found.fixed_output}

    return WorkerFunction(f"@guard.{name}", callee.where, begin)


def _hook(agent: Agent, hook: HookName) -> WorkerFunction:
    method, key, kind = METHODS[hook]
    where = f"{agent.where}, {method}"
    handlers = [handler for handler in agent.callbacks if overrides(handler, hook)]
    callees = [Callee.read(getattr(handler, method), method, agent.where) for handler in handlers]

    def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
        values = {"instructions": "", **arguments} if hook == "before_model" else dict(arguments)
        is_changed = False
        for callee in callees:
            answer = yield callee.call_named(context, values)
            if answer is None:
                continue
            values[key] = _changed(answer, key, kind, callee.where, method)
            is_changed = True
        return {"changes": {key: values[key]} if is_changed else None}

    return WorkerFunction(f"@{hook}", where, begin)


def _changed(answer: Any, key: str, kind: type | None, where: str, method: str) -> Any:
    """The new value in what a handler returned, as JSON, so that the next handler sees what the server would."""
    allowed = f'None, or {{"{key}": {kind.__name__ if kind else "JSON"}}}'
    if not isinstance(answer, Mapping) or set(answer) != {key}:
        raise _refused(where, method, answer, allowed)
    value = to_json_value(answer[key], where, root=key)
    if kind is not None and not isinstance(value, kind):
        raise _refused(where, method, answer, allowed)
    return value


def _bool(value: Any, what: str, where: str) -> bool:
    """Only True and False are answers: 'no' is a true text, and None is a forgotten return."""
    if not isinstance(value, bool):
        raise _refused(where, what, value, "True or False")
    return value


def _refused(where: str, what: str, value: Any, allowed: str) -> ToolError:
    return ToolError(
        "E0313",
        f"The {what} returned {value!r:.200}, which it may not",
        where=where,
        fix=f"Return {allowed}.",
    )
