"""Reading a plan of the strategy plan_execute: JSON in, a checked `StepPlan` or every error as a sentence out.

The sentences are for the planner, which is asked again with them; so all that can be found is found in one pass. A key
that is not known is an error: a `depend_on` that is ignored in silence would run a step too early.

A reference makes a dependency. One to an earlier step is added to `depends_on`; one to a later step must be declared,
since it is as likely to be a slip.
"""

import re
from collections.abc import Mapping
from typing import Any

from perdure.core.expressions import check_condition
from perdure.core.plan_steps import Generate, Operation, PlanCheck, PlanStep, StepPlan, parts, references
from perdure.core.validation import not_storable, problems

MAX_STEPS = 200
MAX_OPERATIONS = 50
MAX_DEPTH = 40
MAX_ERRORS = 50

Tools = Mapping[str, dict[str, Any]]  # name -> JSON Schema of the arguments

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PLAN_KEYS = frozenset({"steps", "validation", "on_success", "on_failure", "description"})
_STEP_KEYS = frozenset({"id", "depends_on", "parallel", "operations", "description"})
_OPERATION_KEYS = frozenset({"tool", "args", "generate", "description"})
_GENERATE_KEYS = frozenset({"instructions", "output_schema", "max_tokens", "context"})
_CHECK_KEYS = frozenset({"tool", "args", "success_condition", "description"})
_ACTION_KEYS = frozenset({"tool", "args", "description"})


def read_plan(raw: Any, tools: Tools) -> tuple[StepPlan | None, tuple[str, ...]]:
    """The plan, or None and what is wrong with it, a sentence each (at most 50).

    Args:
        raw: plain JSON, from a planner or from a definition.
        tools: what may be called: name -> JSON Schema of the arguments.
    """
    if not isinstance(raw, dict):
        return None, ("The plan must be a JSON object with the key 'steps'.",)
    if _depth_over(raw, MAX_DEPTH):
        return None, (f"The plan is nested over {MAX_DEPTH} levels.",)
    if (why := not_storable(raw)) is not None:
        return None, (f"The plan is not JSON: {why}.",)
    reading = _Reading(tools)
    plan = reading.plan(raw)
    if reading.errors:
        return None, tuple(dict.fromkeys(reading.errors))[:MAX_ERRORS]
    return plan, ()


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list | tuple)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


class _Reading:
    """One pass over one plan; `errors` has what was found so far."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.errors: list[str] = []

    def plan(self, raw: dict[str, Any]) -> StepPlan:
        self._known(raw, _PLAN_KEYS, "The plan")
        steps = self._steps(raw.get("steps"))
        steps = self._linked(steps)
        self._find_cycle(steps)
        ids = {step.id for step in steps}
        validation = tuple(
            self._check(item, f"Validation {n}", ids)
            for n, item in enumerate(self._list(raw, "validation", "The plan"), 1)
        )
        after = {
            key: tuple(
                self._action(item, f"Operation {n} of {key}", ids)
                for n, item in enumerate(self._list(raw, key, "The plan"), 1)
            )
            for key in ("on_success", "on_failure")
        }
        return StepPlan(steps, validation, after["on_success"], after["on_failure"])

    # Steps ----------------------------------------------------------------------------------------------

    def _steps(self, raw: Any) -> tuple[PlanStep, ...]:
        if not isinstance(raw, list) or not raw:
            self.errors.append("The plan must have the key 'steps' with a list of at least one step.")
            return ()
        if len(raw) > MAX_STEPS:
            self.errors.append(f"The plan has {len(raw)} steps, and at most {MAX_STEPS} are allowed.")
            return ()
        steps = tuple(self._step(item, n) for n, item in enumerate(raw, 1))
        seen: set[str] = set()
        for step in steps:
            if step.id in seen:
                self.errors.append(f"Two steps have the id {step.id!r}.")
            seen.add(step.id)
        return steps

    def _step(self, raw: Any, number: int) -> PlanStep:
        name = f"step_{number}"
        if not isinstance(raw, dict):
            self.errors.append(f"Step {number} must be an object.")
            return PlanStep(name, ())
        given = raw.get("id", name)
        if isinstance(given, str) and _ID.fullmatch(given):
            name = given
        else:
            self.errors.append(
                f"The id of step {number} must be of 1 to 64 letters, digits, '_' and '-', not {_short(given)}."
            )
        what = f"The step {name!r}"
        self._known(raw, _STEP_KEYS, what)
        parallel = raw.get("parallel", False)
        if not isinstance(parallel, bool):
            self.errors.append(f"{what} has 'parallel' {_short(parallel)}: it must be true or false.")
        depends_on = self._list(raw, "depends_on", what)
        if not all(isinstance(item, str) for item in depends_on):
            self.errors.append(f"{what} has in 'depends_on' something else than ids of steps.")
            depends_on = [item for item in depends_on if isinstance(item, str)]
        operations = self._list(raw, "operations", what)
        if not operations:
            self.errors.append(f"{what} has no operations.")
        if len(operations) > MAX_OPERATIONS:
            self.errors.append(
                f"{what} has {len(operations)} operations, and at most {MAX_OPERATIONS} are allowed."
            )
            operations = []
        return PlanStep(
            name,
            tuple(
                self._operation(item, f"Operation {n} of the step {name!r}")
                for n, item in enumerate(operations, 1)
            ),
            tuple(dict.fromkeys(depends_on)),
            parallel is True,
            str(raw.get("description", "")),
        )

    def _linked(self, steps: tuple[PlanStep, ...]) -> tuple[PlanStep, ...]:
        """The steps with the dependencies that their references make; what is wrong with either is noted."""
        position = {step.id: index for index, step in reversed(list(enumerate(steps)))}
        linked: list[PlanStep] = []
        for index, step in enumerate(steps):
            for name in step.depends_on:
                if name not in position:
                    self.errors.append(
                        f"The step {step.id!r} depends on {name!r}, which is no step of the plan."
                    )
            before = _before(step, {s.id: s.depends_on for s in steps})
            added: list[str] = []
            for reference in _references_of(step):
                name, _ = parts(reference)
                said = f"The step {step.id!r} has the reference {reference!r}"
                if name not in position:
                    self.errors.append(f"{said}, and {name!r} is no step of the plan.")
                elif name == step.id:
                    self.errors.append(f"{said} to itself.")
                elif name not in before and position[name] > index:
                    self.errors.append(
                        f"{said} to a later step that it does not depend on: add {name!r} to its 'depends_on'."
                    )
                elif name not in before:
                    added.append(name)
            depends_on = tuple(dict.fromkeys((*step.depends_on, *added)))
            linked.append(PlanStep(step.id, step.operations, depends_on, step.parallel, step.description))
        return tuple(linked)

    def _find_cycle(self, steps: tuple[PlanStep, ...]) -> None:
        depends_on = {step.id: step.depends_on for step in steps}
        done: set[str] = set()
        for first, before in depends_on.items():
            trail: dict[str, None] = {}  # from the first step to where the walk stands, in order
            walk = [(first, iter(before))] if first not in done else []
            trail |= dict.fromkeys(name for name, _ in walk)
            while walk:
                name, left = walk[-1]
                following = next((n for n in left if n in depends_on and n not in done), None)
                if following is None:
                    walk.pop()
                    trail.pop(name)
                    done.add(name)
                elif following in trail:
                    names = list(trail)
                    circle = [*names[names.index(following) :], following]
                    self.errors.append(f"The steps wait for each other: {' -> '.join(circle)}.")
                    return
                else:
                    walk.append((following, iter(depends_on[following])))
                    trail[following] = None

    # Operations -----------------------------------------------------------------------------------------

    def _operation(self, raw: Any, what: str) -> Operation:
        if not self._is_call(raw, _OPERATION_KEYS, what):
            return Operation("")
        if "generate" not in raw:
            return Operation(raw["tool"], self._args(raw, what))
        if "args" in raw:
            self.errors.append(f"{what} has both 'args' and 'generate': give one of them.")
        return Operation(raw["tool"], {}, self._generate(raw["generate"], what))

    def _generate(self, raw: Any, what: str) -> Generate | None:
        what = f"'generate' of {what[0].lower()}{what[1:]}"
        if not isinstance(raw, dict):
            self.errors.append(f"{what} must be an object.")
            return None
        self._known(raw, _GENERATE_KEYS, what)
        instructions, shape, most = raw.get("instructions"), raw.get("output_schema"), raw.get("max_tokens")
        if not isinstance(instructions, str) or not instructions.strip():
            self.errors.append(f"{what} must have 'instructions', a text.")
        if shape is not None and not isinstance(shape, dict | str):
            self.errors.append(f"{what} has an 'output_schema' that is neither an object nor a text.")
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            self.errors.append(f"{what} has 'max_tokens' {_short(most)}: it must be a whole number from 1.")
        return Generate(str(instructions), shape, most, raw.get("context"))

    def _check(self, raw: Any, what: str, ids: set[str]) -> PlanCheck:
        if not self._is_call(raw, _CHECK_KEYS, what):
            return PlanCheck("")
        condition = raw.get("success_condition") or ""
        if not isinstance(condition, str):
            self.errors.append(f"{what} has a 'success_condition' that is no text.")
        elif condition and (why := check_condition(condition)):
            self.errors.append(f"{what} has a 'success_condition' that cannot be read: {why}.")
        return PlanCheck(raw["tool"], self._args(raw, what, ids), str(condition))

    def _action(self, raw: Any, what: str, ids: set[str]) -> Operation:
        if not self._is_call(raw, _ACTION_KEYS, what):
            return Operation("")
        return Operation(raw["tool"], self._args(raw, what, ids))

    def _is_call(self, raw: Any, keys: frozenset[str], what: str) -> bool:
        if not isinstance(raw, dict) or not isinstance(raw.get("tool"), str):
            self.errors.append(f"{what} must be an object with the key 'tool'.")
            return False
        self._known(raw, keys, what)
        if raw["tool"] not in self._tools:
            names = ", ".join(sorted(self._tools)) or "none"
            self.errors.append(f"{what} calls {raw['tool']!r}, which is no tool. The tools are: {names}.")
        return True

    def _args(self, raw: dict[str, Any], what: str, ids: set[str] | None = None) -> dict[str, Any]:
        """The arguments, checked where they are known; with *ids*, their references too."""
        args = raw.get("args", {})
        if not isinstance(args, dict):
            self.errors.append(f"{what} has 'args' that are no object.")
            return {}
        found = list(references(args))
        self.errors += [
            f"{what} has the reference {reference!r}, and {parts(reference)[0]!r} is no step of the plan."
            for _, reference in found
            if ids is not None and parts(reference)[0] not in ids
        ]
        if any(not path for path, _ in found):
            return args  # the arguments as a whole are a step's result
        wrong = problems(self._tools.get(raw["tool"], {}), args, [path for path, _ in found])
        self.errors += [f"{what} does not fit the tool {raw['tool']!r}: {problem}." for problem in wrong]
        return args

    # Parts ----------------------------------------------------------------------------------------------

    def _list(self, raw: dict[str, Any], key: str, what: str) -> list[Any]:
        value = raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.errors.append(f"{what} has {key!r} that is no list.")
            return []
        return value

    def _known(self, raw: dict[str, Any], keys: frozenset[str], what: str) -> None:
        for key in raw.keys() - keys:
            allowed = ", ".join(sorted(keys - {"description"}))
            self.errors.append(
                f"{what} has the key {_short(key)}, which is not known. The keys are: {allowed}."
            )


def _short(value: Any) -> str:
    return repr(value)[:80]


def _references_of(step: PlanStep) -> list[str]:
    return [
        reference
        for operation in step.operations
        for value in (operation.args, operation.generate.context if operation.generate else None)
        for _, reference in references(value)
    ]


def _before(step: PlanStep, depends_on: Mapping[str, tuple[str, ...]]) -> set[str]:
    """All that must be done before the step begins, as far as it is declared."""
    found: set[str] = set()
    left = list(step.depends_on)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(depends_on.get(name, ()))
    return found
