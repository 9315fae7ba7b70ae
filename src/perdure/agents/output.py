"""Output types: what an agent's answer must be, as JSON Schema on the way out and as a Python value on the way in."""

import re
from typing import Any

from perdure.agents.checks import MAX_NAME_LENGTH
from perdure.agents.hints import adapter_of, describe, problems_of
from perdure.core.definition import OutputDefinition
from perdure.core.errors import ExecutionError


def output_definition(tp: Any) -> OutputDefinition:
    """The definition of an output type.

    Args:
        tp: a Pydantic model, dataclass, TypedDict, `list[Model]`, Literal, Enum or any other type with a schema.

    Raises:
        DefinitionError: E0105 the type has no JSON Schema.
    """
    _, schema = adapter_of(tp, "The output", f"output type {describe(tp)}")
    return OutputDefinition(_name_of(tp), schema)


def parse_output(tp: Any, value: Any) -> Any:
    """The answer as a value of the output type.

    Args:
        tp: the output type.
        value: the answer as JSON.

    Raises:
        DefinitionError: E0105 the type has no JSON Schema.
        ExecutionError: E0410 the answer does not fit.
    """
    adapter, _ = adapter_of(tp, "The output", f"output type {describe(tp)}")
    try:
        return adapter.validate_python(value)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        problems = problems_of(error)
        raise ExecutionError(
            "E0410",
            f"The answer does not fit the output type {describe(tp)}",
            where=f"output type {describe(tp)}",
            why="; ".join(f"{path}: {problem}" if path else problem for path, problem in problems),
            problems=[{"path": path, "problem": problem} for path, problem in problems],
        ) from error


def _name_of(tp: Any) -> str:
    """A name that providers accept: `list_Order` for `list[Order]`."""
    text = tp.__name__ if isinstance(tp, type) and not hasattr(tp, "__args__") else describe(tp)
    words = re.findall(r"[A-Za-z0-9]+", re.sub(r"[A-Za-z_][\w.]*\.(?=\w)", "", text))
    name = "_".join(words)[:MAX_NAME_LENGTH]
    return name if name[:1].isalpha() else "answer"
