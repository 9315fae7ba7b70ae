"""The agent: what a user writes. A description and nothing else: making one contacts nobody and starts nothing."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

from perdure.agents.checks import (
    MAX_COUNT,
    MAX_SECONDS,
    MAX_TEMPERATURE,
    MAX_TURNS,
    check_choice,
    check_name,
    check_number,
    invalid_option,
)
from perdure.agents.models import ModelLike
from perdure.agents.output import output_definition
from perdure.agents.tools import ToolDef
from perdure.agents.values import check_text, to_json_value
from perdure.core.definition import OutputDefinition
from perdure.core.errors import DefinitionError, PerdureError
from perdure.core.model_name import parse_model

ReasoningEffort = Literal["minimal", "low", "medium", "high"]
EFFORTS: tuple[ReasoningEffort, ...] = ("minimal", "low", "medium", "high")


class Agent:
    """An agent: a model with instructions and tools. Treat it as a value: make it, pass it around, do not change it.

    Args:
        name: letters, digits, `_` and `-`, not beginning with a digit.
        model: `provider/model`, or an object that stands for one, such as `perdure.testing.MockModel`.
        instructions: what the model is told first; or a function without parameters that returns it, called each
            time the agent is started or deployed.
        tools: functions made into tools by `@tool`.
        output_type: the type of the answer: a Pydantic model, dataclass, TypedDict, `list[Model]`, ...; a text when
            it is None.
        max_turns: model calls before the execution fails with E0403.
        max_tokens: limit of one answer, in tokens; None: the provider's.
        temperature: 0 to 2; None: the provider's.
        reasoning_effort: minimal, low, medium or high, for models that reason.
        thinking_budget_tokens: tokens that the model may think, where the provider takes a number.
        timeout_seconds: limit of the whole execution, waiting included; 0: no limit.
        base_url: another address of the provider's server.
        metadata: JSON values of your own, kept with the plan.
        model_settings: JSON values that only the provider understands.

    Raises:
        DefinitionError: E0101 to E0107.
    """

    def __init__(
        self,
        name: str,
        model: str | ModelLike = "",
        instructions: str | Callable[[], str] = "",
        tools: Sequence[ToolDef[..., Any]] | None = None,
        *,
        output_type: Any = None,
        max_turns: int = 25,
        max_tokens: int | None = None,
        temperature: float | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        thinking_budget_tokens: int | None = None,
        timeout_seconds: float = 0,
        base_url: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        model_settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = check_name(name, "agent")
        self.where = f"agent {name!r}"
        self.model, settings = _model_of(model, self.where)
        self.instructions = _checked_instructions(instructions, self.where)
        self.tools = _checked_tools(tools, self.where)
        self.output_type = output_type
        self.output: OutputDefinition | None = None if output_type is None else output_definition(output_type)
        self.max_turns = max_turns
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.reasoning_effort: ReasoningEffort | None = reasoning_effort
        self.thinking_budget_tokens = thinking_budget_tokens
        self.timeout_seconds = timeout_seconds
        self.base_url = base_url
        self.metadata = _json_object("metadata", metadata, self.where)
        self.model_settings = _json_object(
            "model_settings", settings | dict(model_settings or {}), self.where
        )
        self._check_options()

    def _check_options(self) -> None:
        check_number("max_turns", self.max_turns, 1, MAX_TURNS, where=self.where)
        if self.max_tokens is not None:
            check_number("max_tokens", self.max_tokens, 1, MAX_COUNT, where=self.where)
        if self.temperature is not None:
            check_number("temperature", self.temperature, 0, MAX_TEMPERATURE, whole=False, where=self.where)
        if self.reasoning_effort is not None:
            check_choice("reasoning_effort", self.reasoning_effort, EFFORTS, self.where)
        if self.thinking_budget_tokens is not None:
            check_number(
                "thinking_budget_tokens", self.thinking_budget_tokens, 0, MAX_COUNT, where=self.where
            )
        check_number("timeout_seconds", self.timeout_seconds, 0, MAX_SECONDS, whole=False, where=self.where)
        if self.model:
            parse_model(self.model, self.base_url)

    def __repr__(self) -> str:
        shown = [repr(self.name)]
        if self.model:
            shown.append(f"model={self.model!r}")
        if self.tools:
            shown.append(f"tools=[{', '.join(t.name for t in self.tools)}]")
        if self.output is not None:
            shown.append(f"output_type={self.output.name}")
        return f"Agent({', '.join(shown)})"


def _model_of(model: Any, where: str) -> tuple[str, dict[str, Any]]:
    """The model's text and the settings that come with it."""
    if isinstance(model, str):
        return model, {}
    name, settings = getattr(model, "model", None), getattr(model, "settings", None)
    if not isinstance(name, str) or not isinstance(settings, Mapping):
        raise DefinitionError(
            "E0107",
            f"A {type(model).__name__} cannot be a model",
            where=where,
            fix='Give a text such as "openai/gpt-5-mini", or an object with `model` and `settings`.',
        )
    return name, dict(settings)


def _checked_instructions(instructions: Any, where: str) -> str | Callable[[], str]:
    if isinstance(instructions, str):
        check_text(instructions, f"{where}, instructions")
    elif not callable(instructions):
        raise invalid_option("instructions", instructions, "a text, or a function that returns one", where)
    return cast("str | Callable[[], str]", instructions)


def _checked_tools(tools: Any, where: str) -> tuple[ToolDef[..., Any], ...]:
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


def _json_object(name: str, value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise invalid_option(name, value, "a dict of JSON values", where)
    try:
        plain: dict[str, Any] = to_json_value(dict(value), where, root=name)
    except PerdureError as error:
        raise DefinitionError("E0106", error.what, where=error.where, why=error.why, fix=error.fix) from error
    return plain
