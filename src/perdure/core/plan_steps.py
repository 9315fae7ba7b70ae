"""The plan of the strategy plan_execute: steps that call tools, checked before the first of them runs.

A planner (a model, or the author of the agent) writes JSON:

    {"steps": [{"id": "fetch", "operations": [{"tool": "get", "args": {"url": "..."}}]},
               {"id": "sum", "depends_on": ["fetch"],
                "operations": [{"tool": "write", "generate": {"instructions": "...", "context": {"$ref": "fetch"}}}]}],
     "validation": [{"tool": "check", "args": {}, "success_condition": "$.ok"}],
     "on_success": [{"tool": "tell", "args": {}}], "on_failure": []}

`core.plan_reading` turns it into these types with every error as a sentence, so that a model can be asked again. Here is
what a plan means:

* A step begins when the steps that it depends on are done; what does not depend on each other runs at the same time.
* The operations of a step run one after the other, or at once when it is `parallel`. The result of a step is that of
  its last operation; of a parallel one it is the list of all.
* `{"$ref": "fetch"}` in arguments is the result of the step `fetch`; `{"$ref": "fetch.rows.0.name"}` a place in it.
* `generate` has a model write the arguments, when the step runs. What it wrote is checked as any model's arguments.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from perdure.core.errors import ToolError
from perdure.core.expressions import lookup

REFERENCE = "$ref"
_POSITION_DIGITS = 9


class Generate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model writes the arguments of a call.

    Attributes:
        output_schema: the shape that they should have, a JSON Schema or an example as a text; None: the tool's own.
        max_tokens: limit of the model's answer, in tokens.
        context: what the model is shown besides; may hold references.
    """

    instructions: str
    output_schema: dict[str, Any] | str | None = None
    max_tokens: int | None = None
    context: Any = None


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call of a tool: with `args`, or with arguments that `generate` says how to write."""

    tool: str
    args: dict[str, Any] = {}
    generate: Generate | None = None


class PlanStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """Calls that belong together. `depends_on` names steps, those that only a reference names included."""

    id: str
    operations: tuple[Operation, ...]
    depends_on: tuple[str, ...] = ()
    parallel: bool = False
    description: str = ""


class PlanCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call that judges the outcome: by `success_condition`, see `core.expressions`, or by its default when empty."""

    tool: str
    args: dict[str, Any] = {}
    success_condition: str = ""


class StepPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """A plan that was checked: every tool is there, every reference has a step that is done before it is needed."""

    steps: tuple[PlanStep, ...]
    validation: tuple[PlanCheck, ...] = ()
    on_success: tuple[Operation, ...] = ()
    on_failure: tuple[Operation, ...] = ()

    @property
    def asks_a_model(self) -> bool:
        """Whether a model writes the arguments of an operation."""
        return any(operation.generate is not None for step in self.steps for operation in step.operations)


def ready(plan: StepPlan, done: Collection[int], started: Collection[int] = ()) -> list[int]:
    """The steps that may begin now, by index: not begun yet, and all that they depend on is done.

    Args:
        plan: a checked plan.
        done: indices of the steps that have a result.
        started: indices of the steps that were begun; those that are done may be among them.
    """
    ids = {plan.steps[index].id for index in done}
    return [
        index
        for index, step in enumerate(plan.steps)
        if index not in done and index not in started and ids.issuperset(step.depends_on)
    ]


def step_result(step: PlanStep, outputs: Sequence[Any]) -> Any:
    """The result of a step whose operations gave these outputs, in the order of the plan."""
    return list(outputs) if step.parallel else outputs[-1]


def resolve(args: Any, results: Mapping[str, Any]) -> Any:
    """A copy of *args* with each reference replaced by what it names.

    Args:
        args: a JSON value; it is not changed.
        results: step id -> result.

    Raises:
        ToolError: E0305 when a reference names a step without a result, or a place that is not in it.
    """
    return replaced(args, lambda reference: _found(reference, results))


def _found(reference: str, results: Mapping[str, Any]) -> Any:
    step, keys = parts(reference)
    if step not in results:
        raise ToolError("E0305", f"The reference {reference!r} names a step that has no result")
    value, there = lookup(results[step], keys)
    if not there:
        raise ToolError(
            "E0305",
            f"The reference {reference!r} leads nowhere in the result of the step {step!r}",
            why=f"The result is {msgspec.json.encode(results[step]).decode(errors='replace')[:300]}",
        )
    return value


def parts(reference: str) -> tuple[str, tuple[str | int, ...]]:
    """`fetch.rows.0.name` as the step's id and the keys in its result; digits are a position or a name."""
    step, *keys = reference.split(".")
    return step, tuple(
        int(key) if key.isascii() and key.isdigit() and len(key) <= _POSITION_DIGITS else key for key in keys
    )


def reference_in(value: Any) -> str | None:
    """The reference that *value* is, if it is one: an object of `$ref` with a text, and nothing else."""
    if isinstance(value, dict) and len(value) == 1 and isinstance(found := value.get(REFERENCE), str):
        return found
    return None


def references(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Each reference in a JSON value, with its place."""
    if (found := reference_in(value)) is not None:
        yield path, found
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from references(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from references(item, (*path, index))


def replaced(value: Any, what: Callable[[str], Any]) -> Any:
    """A copy of a JSON value with each reference replaced. What is put in is not searched again."""
    if (found := reference_in(value)) is not None:
        return what(found)
    if isinstance(value, dict):
        return {key: replaced(item, what) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, what) for item in value]
    return value
