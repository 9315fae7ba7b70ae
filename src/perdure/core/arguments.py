"""What a model is asked that writes the arguments of a plan's call, and what is wrong with what it wrote."""

from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import ModelRef, ModelRequest, ModelSettings, ToolSpec
from perdure.core.plan import Plan
from perdure.core.validation import is_schema, parse_answer, problems

# Keywords whose check may take time without bound: patterns that go back, references that multiply.
_UNBOUNDED = frozenset({"pattern", "patternProperties", "$ref", "$dynamicRef"})
_TASK = """\
You write the arguments for one call of the tool {name}, as a step of a plan. You do not call it yourself: answer with one \
JSON object that holds the arguments, and nothing else."""
_AGAIN = """\
These arguments cannot be used:
{errors}
Answer again with the whole JSON object, corrected."""


def read_arguments(
    text: str, schema: dict[str, Any], shape: Any
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The arguments in a model's answer, or None and what is wrong with them.

    Args:
        text: what the model wrote.
        schema: the tool's own.
        shape: what the plan says of them; a JSON Schema is held to, but for what `_UNBOUNDED` names; an example is not.
    """
    value, wrong = parse_answer(text)
    if wrong is not None:
        return None, (wrong,)
    if not isinstance(value, dict):
        return None, ("the answer is no JSON object",)
    errors = problems(schema, value)
    if not errors and _holds_to(shape):
        errors = problems(shape, value)
    return (None, errors) if errors else (value, ())


def _holds_to(shape: Any) -> bool:
    """Whether what a plan says of the arguments can be checked; a model may have written it, so its cost must be bounded."""
    if not is_schema(shape):
        return False
    left = [shape]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if not _UNBOUNDED.isdisjoint(item):
                return False
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return True


def arguments_request(
    plan: Plan, model: ModelRef, request: str, asked: ev.ArgumentsRequested, execution_id: str, attempt: int
) -> ModelRequest:
    """The model call: the tool, what the plan says, what was wrong before. It sees nothing of another call's."""
    tool = plan.tools[asked.tool].spec
    messages = [user(_question(tool, request, asked))]
    if asked.errors:
        listed = "\n".join(f"- {error}" for error in asked.errors)
        messages.append(Message("assistant", (TextPart(asked.answer or "(nothing)"),)))
        messages.append(user(_AGAIN.format(errors=listed)))
    settings: ModelSettings = plan.settings
    if asked.max_tokens is not None:
        settings = msgspec.structs.replace(settings, max_tokens=asked.max_tokens)
    return ModelRequest(
        execution_id=execution_id,
        step=asked.step,
        attempt=attempt,
        model=model,
        instructions=_TASK.format(name=tool.name),
        messages=messages,
        tools=(),
        settings=settings,
        output_schema=tool.input_schema,
        output_name="Arguments",
    )


def _question(tool: ToolSpec, request: str, asked: ev.ArgumentsRequested) -> str:
    parts = [
        f"The request that the plan is for:\n{request}",
        f"The tool {tool.name}: {tool.description}" if tool.description else "",
        f"The JSON Schema of its arguments:\n{_json(tool.input_schema)}",
        f"They should have this shape:\n{_json(asked.shape)}" if asked.shape is not None else "",
        f"What to write:\n{asked.instructions}",
        f"What to go by:\n{_json(asked.context)}" if asked.context is not None else "",
    ]
    return "\n\n".join(filter(None, parts))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()
