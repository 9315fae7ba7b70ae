"""What a planner is told, and the plan in what it answers."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from perdure.core.model import ToolSpec
from perdure.core.plan_reading import MAX_OPERATIONS, MAX_STEPS

# How many characters are read in all while a plan is looked for, so that a hostile text cannot hold the server up.
MAX_SEARCH = 4_000_000
# Each try costs as much as so many characters; one that fails has the decoder count the lines before it as well.
_COST_OF_A_TRY = 100
_LINES_AT_ONCE = 20
_FENCE = "```"

_SHAPE = """\
Answer with a plan: one JSON object, alone or in a ```json fence. It has this shape; what is marked optional may be left out.

{
  "steps": [
    {
      "id": "fetch",                  // optional: letters, digits, _ and -; step_1, step_2, ... when left out
      "depends_on": ["other_step"],   // optional: the steps that must be done before
      "parallel": false,              // optional: true runs the operations of this step at once
      "operations": [
        {"tool": "NAME", "args": {}},
        {"tool": "NAME", "generate": {"instructions": "what the arguments should be", "context": {"$ref": "fetch"}}}
      ]
    }
  ],
  "validation": [{"tool": "NAME", "args": {}, "success_condition": "$.ok == true"}],  // optional
  "on_success": [{"tool": "NAME", "args": {}}],                                       // optional
  "on_failure": [{"tool": "NAME", "args": {}}]                                        // optional
}

Rules:
- Use only the tools below, with arguments that fit their schemas.
- Give "args" when you know the arguments now, or "generate" to have a model write them when the step runs; \
"generate" may also have "output_schema" and "max_tokens".
- Steps that do not depend on each other run at the same time. A step that needs another's result depends on it.
- {"$ref": "fetch"} anywhere in "args" or "context" is the result of the step fetch, {"$ref": "fetch.rows.0.name"} a \
place in it. The result of a step is that of its last operation; of a parallel step it is the list of all.
- A "success_condition" is about the tool's output, $: paths ($.a.b, $.rows[0]), == != < <= > >=, in, contains, and, or, \
not, len(). Without one, an output fails that is null or false, has "passed": false, or has the text ERROR.
- JSON has no comments: leave out what stands behind // above."""


def plan_prompt(tools: Iterable[ToolSpec]) -> str:
    """What a planner is told of the plan's shape and of the tools. The same for the same tools, byte for byte."""
    lines = [_SHAPE, f"- At most {MAX_STEPS} steps, and {MAX_OPERATIONS} operations in a step.", "", "Tools:"]
    for tool in tools:
        schema = msgspec.json.encode(tool.input_schema, order="deterministic").decode()
        description = " ".join(tool.description.split())
        lines.append(f"- {tool.name}: {description}" if description else f"- {tool.name}")
        lines.append(f"  arguments: {schema}")
    return "\n".join(lines)


def replan_prompt(errors: Iterable[str]) -> str:
    """What a planner is told when its plan cannot run; without errors, that no plan was found."""
    listed = [f"- {error}" for error in errors] or ["- The answer has no JSON object with the key 'steps'."]
    return "\n".join(
        [
            "The plan cannot run:",
            *listed,
            "Answer with the whole plan again, as one JSON object, with these corrected.",
        ]
    )


def find_plan(text: str) -> dict[str, Any] | None:
    """The plan in a model's answer: the whole text, else the last ```json fence, else the last object with `steps`.

    None when there is none. What is found is plain JSON that `core.plan_reading.read_plan` must still check.
    """
    for part in (text, _last_fence(text)):
        body = part.strip()
        value, end = _decoded(body, 0)
        if end == len(body) and _is_plan(value):
            return dict(value)
    return _last_object(text)


def _last_fence(text: str) -> str:
    """What is in the last fence that says json; empty: there is none."""
    _, opened, inside = text.rpartition(f"{_FENCE}json")
    if not opened:
        _, opened, inside = text.rpartition(f"{_FENCE}JSON")
    return inside.partition(_FENCE)[0] if opened else ""


def _last_object(text: str) -> dict[str, Any] | None:
    """The last balanced object with `steps`, at any depth of others without it."""
    found: dict[str, Any] | None = None
    effort = 0
    at = text.find("{")
    while at != -1 and effort < MAX_SEARCH:
        value, end = _decoded(text, at)
        effort += end - at + _COST_OF_A_TRY + (0 if isinstance(value, dict) else end // _LINES_AT_ONCE)
        if _is_plan(value):
            found = value
        # Into an object that is none, or is no plan; over one that is.
        at = text.find("{", end if _is_plan(value) else at + 1)
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _decoded(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at *at*, and the position behind it; None and where reading stopped, if none does."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        return None, max(error.pos, at + 1)
    except (ValueError, RecursionError):  # a number of thousands of digits; a nesting beyond all limits
        return None, len(text)


def _is_plan(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("steps"), list)
