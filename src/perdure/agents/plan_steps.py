"""Plans that are written down: steps of tool calls for the strategy `plan_execute`, in Python or from a planner.

    Plan(
        steps=[
            Step("fetch", [Op("download", {"url": "https://..."})]),
            Step("sum", [Op("summarise", {"text": Ref("fetch")})], depends_on=["fetch"]),
        ],
        validation=[Validation("check", {"text": Ref("sum")})],
    )

Steps that do not depend on each other may run at once. A plan is checked when it is made; whether an agent has its
tools is checked when the agent is made.
"""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from perdure.agents.checks import MAX_COUNT, check_name, check_number, invalid_option
from perdure.agents.termination import some_text
from perdure.agents.tools import ToolDef
from perdure.agents.values import to_json_value
from perdure.core.errors import DefinitionError, PerdureError

_WHERE = "plan"


class Ref:
    """What a step made, as an argument of a later one that says so in `depends_on`. Of a parallel step: a list.

    Raises:
        DefinitionError: E0104 the step's id.
    """

    def __init__(self, step_id: str) -> None:
        self.step_id = check_name(step_id, "step", _WHERE)

    def to_json(self) -> dict[str, Any]:
        """`{"$ref": step_id}`."""
        return {"$ref": self.step_id}

    def __repr__(self) -> str:
        return f"Ref({self.step_id!r})"


class Generate:
    """Arguments that a model writes when the step runs.

    Args:
        instructions: what to write.
        output_schema: JSON Schema of the arguments; None: the tool's own.
        max_tokens: limit of the model's answer; None: the provider's.
        context: more to go by; `Ref`s may stand in it.

    Raises:
        DefinitionError: E0106.
    """

    def __init__(
        self,
        instructions: str,
        output_schema: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        context: Any = None,
    ) -> None:
        self.instructions = some_text("instructions", instructions, _WHERE)
        if output_schema is not None and not isinstance(output_schema, Mapping):
            raise invalid_option("output_schema", output_schema, "a JSON Schema", _WHERE)
        if max_tokens is not None:
            check_number("max_tokens", max_tokens, 1, MAX_COUNT, where=_WHERE)
        self.output_schema = output_schema
        self.max_tokens = max_tokens
        self.context = context

    def to_json(self) -> dict[str, Any]:
        """As data; what was not given is left out."""
        given = {
            "instructions": self.instructions,
            "output_schema": self.output_schema,
            "max_tokens": self.max_tokens,
            "context": self.context,
        }
        return {name: _json(value, name) for name, value in given.items() if value is not None}


class _Call:
    """A tool with its arguments."""

    def __init__(self, tool: str | ToolDef[..., Any], args: Mapping[str, Any] | None = None) -> None:
        self.tool = check_name(tool.name if isinstance(tool, ToolDef) else tool, "tool", _WHERE)
        if args is not None and not isinstance(args, Mapping):
            raise invalid_option("args", args, "a dict of arguments", f"{_WHERE}, tool {self.tool!r}")
        self.args: dict[str, Any] = _json(dict(args or {}), f"args of {self.tool}")

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {"tool": self.tool, "args": self.args}


class Op(_Call):
    """One operation of a step: a tool with arguments that are known, or that a model writes.

    Args:
        tool: the tool, or its name.
        args: its arguments; a `Ref` may stand anywhere in them.
        generate: instead of args.

    Raises:
        DefinitionError: E0104 the tool's name; E0106 both args and generate, or arguments that are not JSON.
    """

    def __init__(
        self,
        tool: str | ToolDef[..., Any],
        args: Mapping[str, Any] | None = None,
        generate: Generate | None = None,
    ) -> None:
        super().__init__(tool, args)
        if generate is not None and (args is not None or not isinstance(generate, Generate)):
            raise invalid_option("generate", generate, "args, or a Generate, and not both", _WHERE)
        self.generate = generate

    def to_json(self) -> dict[str, Any]:
        """As data."""
        if self.generate is None:
            return super().to_json()
        return {"tool": self.tool, "generate": self.generate.to_json()}


class Action(_Call):
    """A tool call after the plan: `on_success` or `on_failure`."""


class Validation(_Call):
    """A tool call that says whether the plan did what it should.

    Args:
        tool: the tool, or its name.
        args: its arguments.
        success_condition: an expression over the result, which is `$`: `$.score >= 0.8`. None: anything passes but
            null, false, an object with `passed: false`, and a text with "ERROR" anywhere in it.

    Raises:
        DefinitionError: E0104 the tool's name; E0106 an option.
    """

    def __init__(
        self,
        tool: str | ToolDef[..., Any],
        args: Mapping[str, Any] | None = None,
        success_condition: str | None = None,
    ) -> None:
        super().__init__(tool, args)
        if success_condition is not None:
            some_text("success_condition", success_condition, _WHERE)
        self.success_condition = success_condition

    def to_json(self) -> dict[str, Any]:
        """As data."""
        more = {} if self.success_condition is None else {"success_condition": self.success_condition}
        return super().to_json() | more


class Step:
    """Operations that belong together.

    Args:
        id: unique in the plan.
        operations: one or more.
        depends_on: ids of steps that must be done before, or the steps.
        parallel: whether the operations run at once; otherwise one after the other, and the last one's result is the
            step's.

    Raises:
        DefinitionError: E0101 no operation; E0104 an id.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the word of the format
        operations: Sequence[Op] | Op,
        depends_on: Sequence["str | Step"] = (),
        parallel: bool = False,  # noqa: FBT001, FBT002 - a known signature
    ) -> None:
        self.id = check_name(id, "step", _WHERE)
        where = f"{_WHERE}, step {self.id!r}"
        self.operations = _list_of(Op, [operations] if isinstance(operations, Op) else operations, where)
        if not self.operations:
            raise DefinitionError("E0101", f"The step {self.id!r} has no operation", where=where)
        if isinstance(depends_on, str) or not isinstance(depends_on, Sequence):
            raise invalid_option("depends_on", depends_on, "a list of step ids", where)
        self.depends_on = tuple(
            check_name(step.id if isinstance(step, Step) else step, "step", where) for step in depends_on
        )
        self.parallel = bool(parallel)

    def to_json(self) -> dict[str, Any]:
        """As data."""
        return {
            "id": self.id,
            "depends_on": list(self.depends_on),
            "parallel": self.parallel,
            "operations": [op.to_json() for op in self.operations],
        }


class Plan:
    """Steps, how to see whether they did what they should, and what to do then.

    Args:
        steps: one or more.
        validation: all must pass.
        on_success: done after the steps, when the validation passed.
        on_failure: done when it did not; the execution fails then, or the fallback takes over.

    Raises:
        DefinitionError: E0101 no step, two of one id, an unknown step in `depends_on` or `Ref`, a `Ref` to a step
            that is not in `depends_on`, or steps that wait for each other.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        validation: Sequence[Validation] = (),
        on_success: Sequence[Action] = (),
        on_failure: Sequence[Action] = (),
    ) -> None:
        self.steps = _list_of(Step, steps, _WHERE)
        self.validation = _list_of(Validation, validation, _WHERE)
        self.on_success = _list_of(Action, on_success, _WHERE)
        self.on_failure = _list_of(Action, on_failure, _WHERE)
        _check(self)

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that it calls, each once."""
        calls: list[_Call] = [op for step in self.steps for op in step.operations]
        calls += [*self.validation, *self.on_success, *self.on_failure]
        return tuple(dict.fromkeys(call.tool for call in calls))

    def to_json(self) -> dict[str, Any]:
        """The plan as data."""
        return {
            "steps": [step.to_json() for step in self.steps],
            "validation": [item.to_json() for item in self.validation],
            "on_success": [item.to_json() for item in self.on_success],
            "on_failure": [item.to_json() for item in self.on_failure],
        }

    def __repr__(self) -> str:
        return f"Plan({', '.join(step.id for step in self.steps)})"


class Context:
    """A text that a planner goes by: a manual, conventions, a description of the data.

    Args:
        text: the text.
        title: stands above it.
        max_bytes: what is longer, as UTF-8, is cut, and says so.

    Raises:
        DefinitionError: E0106.
    """

    def __init__(self, text: str, title: str = "", max_bytes: int = 16_384) -> None:
        self.text = some_text("text", text, "planner context")
        self.title = some_text("title", title, "planner context") if title else ""
        check_number("max_bytes", max_bytes, 1, MAX_COUNT, where="planner context")
        self.max_bytes = max_bytes

    def render(self) -> str:
        """What the planner reads."""
        data = self.text.encode()
        text = self.text
        if len(data) > self.max_bytes:
            text = data[: self.max_bytes].decode(errors="ignore") + "\n[the rest is left out]"
        return f"{self.title}\n\n{text}" if self.title else text


def _list_of(kind: Any, given: Any, where: str) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option(f"{kind.__name__.lower()}s", given, f"a list of {kind.__name__}s", where)
    for item in given:
        if not isinstance(item, kind):
            raise DefinitionError("E0101", f"{item!r:.80} is not a {kind.__name__}", where=where)
    return tuple(given)


def _check(plan: Plan) -> None:
    if not plan.steps:
        raise DefinitionError("E0101", "The plan has no steps", where=_WHERE)
    ids = [step.id for step in plan.steps]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DefinitionError("E0101", f"Two steps have the id {twice!r}", where=_WHERE)
    for step in plan.steps:
        where = f"{_WHERE}, step {step.id!r}"
        for name in step.depends_on:
            _check_known(name, ids, where)
        for name in _refs([op.to_json() for op in step.operations]):
            _check_known(name, ids, where)
            if name not in step.depends_on:
                raise DefinitionError(
                    "E0101",
                    f"The step {step.id!r} uses what {name!r} made, but does not depend on it",
                    where=where,
                    fix=f"Add {name!r} to depends_on.",
                )
    for name in _refs([c.to_json() for c in (*plan.validation, *plan.on_success, *plan.on_failure)]):
        _check_known(name, ids, _WHERE)
    try:
        TopologicalSorter({step.id: step.depends_on for step in plan.steps}).prepare()
    except CycleError as error:
        raise DefinitionError(
            "E0101", f"Steps wait for each other: {' -> '.join(error.args[1])}", where=_WHERE
        ) from error


def _check_known(name: str, ids: Sequence[str], where: str) -> None:
    if name not in ids:
        raise DefinitionError(
            "E0101", f"There is no step {name!r}", where=where, fix=f"Steps: {', '.join(ids)}."
        )


def _refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if value.keys() == {"$ref"} and isinstance(value["$ref"], str):
            yield value["$ref"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _refs(item)


def _json(value: Any, root: str) -> Any:
    try:
        return to_json_value(_written(value), _WHERE, root=root)
    except PerdureError as error:
        raise DefinitionError("E0106", error.what, where=error.where, why=error.why, fix=error.fix) from error


def _written(value: Any) -> Any:
    """The value with each `Ref` written out."""
    if isinstance(value, Ref):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item) for item in value]
    return value
