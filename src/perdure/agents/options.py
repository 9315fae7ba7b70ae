"""Checks of what an `Agent` is given: each turns an argument into what the agent keeps, or says what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from perdure.agents.calling import Callee
from perdure.agents.checks import check_name, invalid_option
from perdure.agents.guardrails import Guardrail, guard_functions
from perdure.agents.plan_steps import Context, Plan
from perdure.agents.template import PromptTemplate
from perdure.agents.tools import PrefillToolCall, ToolDef
from perdure.agents.values import check_text, to_json_value
from perdure.core.errors import DefinitionError, PerdureError

Instructions = str | PromptTemplate | Callable[..., Any]


@dataclass(frozen=True)
class NamedModel:
    """A model's name with the settings that belong to it; a `ModelLike`."""

    model: str
    settings: dict[str, Any]


def checked_model(model: Any, where: str) -> NamedModel:
    """The model of a text, or of an object that stands for one.

    Raises:
        DefinitionError: E0107.
    """
    if isinstance(model, str):
        return NamedModel(model, {})
    name, settings = getattr(model, "model", None), getattr(model, "settings", None)
    if not isinstance(name, str) or not isinstance(settings, Mapping):
        raise DefinitionError(
            "E0107",
            f"A {type(model).__name__} cannot be a model",
            where=where,
            fix='Give a text such as "openai/gpt-5-mini", or an object with `model` and `settings`.',
        )
    return NamedModel(name, json_object("model_settings", settings, where))


def checked_instructions(instructions: Any, where: str) -> tuple[Instructions, Callee | None]:
    """The instructions, and the function that is asked for them in each execution, if there is one.

    Raises:
        DefinitionError: E0101 a function that takes too much; E0106 neither a text nor a function.
    """
    if isinstance(instructions, str):
        check_text(instructions, f"{where}, instructions")
        return instructions, None
    if isinstance(instructions, PromptTemplate):
        return instructions, None
    if not callable(instructions):
        raise invalid_option("instructions", instructions, "a text, or a function that returns one", where)
    callee = Callee.read(instructions, "instructions function", where, most=2)
    is_dynamic = callee.needed > 0 or callee.context is not None
    return cast("Instructions", instructions), callee if is_dynamic else None


def checked_tools(tools: Any, where: str) -> tuple[ToolDef[..., Any], ...]:
    """The tools, each name once.

    Raises:
        DefinitionError: E0101 something is not a tool; E0103 two have one name.
    """
    if tools is None:
        return ()
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise invalid_option("tools", tools, "a list of tools", where)
    seen: dict[str, ToolDef[..., Any]] = {}
    for item in tools:
        if not isinstance(item, ToolDef):
            raise DefinitionError(
                "E0101",
                f"{getattr(item, '__name__', item)!r:.80} is not a tool",
                where=where,
                fix="Put @tool above the function."
                if callable(item)
                else "Give functions decorated with @tool.",
            )
        if item.is_unbound:
            raise DefinitionError(
                "E0101",
                f"The tool {item.name!r} is a method without its object",
                where=item.where,
                fix=f"Make the object first and give its method: tools=[obj.{item.name}].",
            )
        if item.name in seen:
            raise DefinitionError(
                "E0103",
                f"Two tools have the name {item.name!r}",
                where=where,
                why=f"{seen[item.name].where} and {item.where}",
                fix='Give one of them another: @tool(name="...").',
            )
        seen[item.name] = item
    return tuple(seen.values())


def json_object(name: str, value: Any, where: str) -> dict[str, Any]:
    """A dict of JSON values.

    Raises:
        DefinitionError: E0106.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid_option(name, value, "a dict of JSON values", where)
    try:
        plain: dict[str, Any] = to_json_value(dict(value), where, root=name)
    except PerdureError as error:
        raise DefinitionError("E0106", error.what, where=error.where, why=error.why, fix=error.fix) from error
    return plain


def optional(name: str, value: Any, kind: type[Any], where: str) -> Any:
    """The value, when it is None or of this kind.

    Raises:
        DefinitionError: E0106.
    """
    if value is not None and not isinstance(value, kind):
        raise invalid_option(name, value, f"a {kind.__name__}", where)
    return value


def plain_text(name: str, value: Any, where: str) -> str:
    """A text, which may be empty; None is empty.

    Raises:
        DefinitionError: E0106.
        ApiError: E0611 it has lone surrogates.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_option(name, value, "a text", where)
    check_text(value, f"{where}, {name}")
    return value


def names(name: str, given: Any, where: str) -> tuple[str, ...]:
    """A list of names, each once; things that have a name count as it.

    Raises:
        DefinitionError: E0106.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option(name, given, "a list of names", where)
    found = [item if isinstance(item, str) else getattr(item, "name", None) for item in given]
    if not all(isinstance(item, str) and item for item in found):
        raise invalid_option(name, given, "a list of names", where)
    return tuple(dict.fromkeys(cast("list[str]", found)))


def checked_required(given: Any, tools: Sequence[ToolDef[..., Any]], where: str) -> tuple[str, ...]:
    """Names of tools that must have been called.

    Raises:
        DefinitionError: E0101 the agent has no such tool; E0106 not a list of names.
    """
    required = names("required_tools", given, where)
    for name in required:
        check_has_tool(name, tools, "required_tools", where)
    return required


def checked_prefill(
    given: Any, tools: Sequence[ToolDef[..., Any]], where: str
) -> tuple[PrefillToolCall, ...]:
    """Calls that are made first.

    Raises:
        DefinitionError: E0101 something is no call, or the agent has no such tool.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option("prefill_tools", given, "a list of calls", where)
    for item in given:
        if not isinstance(item, PrefillToolCall):
            raise DefinitionError(
                "E0101",
                f"{item!r:.80} is not a call of a tool",
                where=where,
                fix="Write prefill_tools=[the_tool.call(argument=1)].",
            )
        check_has_tool(item.tool_name, tools, "prefill_tools", where)
    return tuple(given)


def check_has_tool(name: str, tools: Sequence[ToolDef[..., Any]], option: str, where: str) -> None:
    """Refuse a name that none of the tools has.

    Raises:
        DefinitionError: E0101.
    """
    if name not in (known := [tool.name for tool in tools]):
        raise DefinitionError(
            "E0101",
            f"{option} names the tool {name!r}, which the agent does not have",
            where=where,
            fix=f"Its tools: {', '.join(known) or 'none'}.",
        )


def checked_plan(given: Any, tools: Sequence[ToolDef[..., Any]], where: str) -> dict[str, Any] | None:
    """A fixed plan as data: a `Plan`, or its JSON, which the server checks.

    Raises:
        DefinitionError: E0101 the plan calls a tool that the agent does not have; E0106 not a plan.
    """
    if given is None:
        return None
    if not isinstance(given, Plan):
        return json_object("plan", given, where)
    for name in given.tools:
        check_has_tool(name, tools, "plan", where)
    return given.to_json()


def checked_planner_context(given: Any, where: str) -> tuple[str, ...]:
    """Texts for a planner.

    Raises:
        DefinitionError: E0106.
    """
    if given is None:
        return ()
    items = [given] if isinstance(given, str | Context) else given
    if not isinstance(items, Sequence) or not all(isinstance(item, str | Context) for item in items):
        raise invalid_option("planner_context", given, "a list of texts or Contexts", where)
    return tuple((item if isinstance(item, Context) else Context(item)).render() for item in items)


def check_guard_names(
    guardrails: Sequence[Guardrail], tools: Sequence[ToolDef[..., Any]], where: str
) -> None:
    """Refuse two functions of one name among the guardrails of an agent and its tools: they share its queues.

    Raises:
        DefinitionError: E0103.
    """
    guard_functions([*guardrails, *(g for tool in tools for g in tool.guardrails)], where)


def checked_transitions(given: Any, members: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
    """Who may follow whom.

    Raises:
        DefinitionError: E0101 a name that nobody in the team has; E0106 not a dict of lists of names.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise invalid_option("allowed_transitions", given, '{"agent": ["next", ...]}', where)
    found = {check_name(k, "agent", where): names("allowed_transitions", v, where) for k, v in given.items()}
    for name in dict.fromkeys([*found, *(n for following in found.values() for n in following)]):
        check_member(name, members, "allowed_transitions", where)
    return found


def check_member(name: str, members: Sequence[str], option: str, where: str) -> None:
    """Refuse a name that nobody in the team has.

    Raises:
        DefinitionError: E0101.
    """
    if name not in members:
        raise DefinitionError(
            "E0101",
            f"{option} names the agent {name!r}, which is not in the team",
            where=where,
            fix=f"The team: {', '.join(members) or 'nobody'}.",
        )
