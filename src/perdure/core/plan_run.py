"""How far a plan of plan_execute has come, folded from the events: its results, what failed, what comes next.

Each operation is a tool call with a step of its own name:

    o1.c0   operation 0 of the plan's first step      o1.g0   a model writes its arguments (o1.g0.2: asked again)
    ov.c0   the first validation
    oy.c0   the first operation of on_success
    on.c0   the first operation of on_failure

An operation has begun when something of its name is open or recorded, and is done when it has a result and nothing of
its name is open (a guardrail may still look at the result). So no cursor is stored: what comes next follows from this
and the open steps.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple, Self

from perdure.core import events as ev
from perdure.core.expressions import default_holds, holds
from perdure.core.history import shortened, text_of
from perdure.core.plan_steps import (
    Operation,
    PlanCheck,
    StepPlan,
    parts,
    ready,
    references,
    resolve,
    step_result,
)

_OPERATION = re.compile(r"(o(?:[1-9]\d*|[vyn]))\.([cg])(\d+)(?:\.|$)", re.ASCII)
_RESULT = ".r"


class Place(NamedTuple):
    """Which operation a step is about: `group` is o1, o2, ... (a step of the plan), ov, oy or on."""

    group: str
    number: int

    @property
    def call(self) -> str:
        """The step of the tool call."""
        return f"{self.group}.c{self.number}"

    def writing(self, tries: int) -> str:
        """The step in which a model writes the arguments, for the first, second, ... time."""
        return f"{self.group}.g{self.number}" + (f".{tries}" if tries > 1 else "")


@functools.lru_cache(maxsize=65_536)
def place_of(step: str) -> Place | None:
    """The operation that a step is of, or a part of; None: it is no operation's."""
    found = _OPERATION.match(step)
    return None if found is None else Place(found[1], int(found[3]))


def open_places(steps: Iterable[str]) -> frozenset[Place]:
    """The operations of which something is open."""
    return frozenset(place for step in steps if (place := place_of(step)) is not None)


class PlanRun:
    """A plan under way.

    Attributes:
        plan: None before one was accepted.
        rejected: how many plans were rejected.
        outputs: results by operation; `errors` why one failed, in words.
        written: the last text that a model wrote for an operation's arguments.
        failure: the record that the plan has failed.
        questions: the steps in which a person was asked something.
        inbox: what was said to the execution and no operation has taken.
        left: how many operations of each step of the plan have no result.
    """

    __slots__ = ("errors", "failure", "inbox", "left", "outputs", "plan", "questions", "rejected", "written")

    def __init__(self) -> None:
        self.plan: StepPlan | None = None
        self.rejected = 0
        self.outputs: dict[Place, Any] = {}
        self.errors: dict[Place, str] = {}
        self.written: dict[Place, str] = {}
        self.failure: ev.PlanFailed | None = None
        self.questions: frozenset[str] = frozenset()
        self.inbox: tuple[ev.MessageReceived, ...] = ()
        self.left: dict[str, int] = {}

    def copy(self) -> Self:
        """A copy that may go on by itself."""
        other = type(self)()
        other.plan, other.rejected, other.failure = self.plan, self.rejected, self.failure
        other.outputs, other.errors, other.written = dict(self.outputs), dict(self.errors), dict(self.written)
        other.questions, other.inbox, other.left = self.questions, self.inbox, dict(self.left)
        return other

    # Taking in -----------------------------------------------------------------------------------------

    def fold(self, event: ev.Event) -> None:
        """Take in the next event."""
        take = _FOLD.get(type(event))
        if take is not None:
            take(self, event)

    def _accepted(self, event: ev.PlanAccepted) -> None:
        self.plan = event.plan
        self.left = {f"o{n}": len(step.operations) for n, step in enumerate(event.plan.steps, start=1)}

    def _rejected(self, _event: ev.PlanRejected) -> None:
        self.rejected += 1

    def _failed(self, event: ev.PlanFailed) -> None:
        self.failure = event
        for place in open_places(event.stopped):
            self._drop(place)  # a guardrail had not let it pass yet

    def _settle(self, step: str, value: Any) -> None:
        place = place_of(step)
        if place is not None and place.call == step:
            if place not in self.outputs and place.group in self.left:
                self.left[place.group] -= 1
            self.outputs[place] = value

    def _drop(self, place: Place) -> None:
        if place in self.outputs:
            del self.outputs[place]
            if place.group in self.left:
                self.left[place.group] += 1

    def _fail(self, step: str, why: str) -> None:
        place = place_of(step)
        if place is not None and place.call == step:
            self._drop(place)
            self.errors[place] = why

    def _completed(self, event: ev.ToolCompleted) -> None:
        self._settle(event.step, event.result)

    def _child_completed(self, event: ev.ChildCompleted) -> None:
        self._settle(event.step, event.output)

    def _refused(self, event: ev.ToolRefused | ev.ChildFailed) -> None:
        self._fail(event.step, _words(event.error))

    def _tool_failed(self, event: ev.ToolFailed) -> None:
        if event.retry_at_ms is None:
            self._fail(event.step, _words(event.error))

    def _tool_lost(self, event: ev.ToolLost) -> None:
        if event.policy == "fail":
            self._fail(event.step, f"It is not known whether it took effect: {event.reason}")

    def _asked(self, event: ev.ApprovalRequested) -> None:
        if event.asks == "question":
            self.questions |= {event.step}

    def _decided(self, event: ev.ApprovalDecided) -> None:
        if event.decision == "rejected":
            reason = f": {event.reason}" if event.reason else ""
            self._fail(event.step, f"{event.by} rejected it{reason}")
        elif event.step in self.questions:
            self._settle(event.step, event.answer)

    def _wrote(self, event: ev.ModelCompleted) -> None:
        place = place_of(event.step)
        if place is not None and not event.step.startswith(f"{place.call}."):  # not a judge of its guardrails
            self.written[place] = event.message.text

    def _replaced(self, event: ev.Replaced) -> None:
        step = event.subject.removesuffix(_RESULT)
        place = place_of(step)
        if place in self.outputs and event.subject == f"{place.call}{_RESULT}":
            self.outputs[place] = event.value

    def _budget_reached(self, event: ev.BudgetReached) -> None:
        place = place_of(event.step)
        if place is not None:
            self._fail(place.call, f"The budget does not allow it: {event.why}")

    def _said(self, event: ev.MessageReceived) -> None:
        self.inbox = (*self.inbox, event)

    def _taken(self, event: ev.MessagesTaken) -> None:
        taken, self.inbox = self.inbox[: event.count], self.inbox[event.count :]
        self._settle(event.step, messages_result(taken))

    def _blocked(self, event: ev.AnswerRefused) -> None:
        """A guardrail sends a result back, and nobody is there to try again: the operation has failed."""
        step = event.step.removesuffix(_RESULT)
        place = place_of(step)
        if place in self.outputs and event.step == f"{place.call}{_RESULT}":
            told = self.outputs[place]
            why = told.get("why") if isinstance(told, dict) else None
            self._fail(step, f"The {event.by} blocked its result" + (f": {why}" if why else ""))

    # Looking -------------------------------------------------------------------------------------------

    def operation(self, place: Place) -> Operation | PlanCheck:
        """The operation that stands at *place* of the plan."""
        plan = self._plan
        named: dict[str, tuple[Operation | PlanCheck, ...]] = {
            "ov": plan.validation,
            "oy": plan.on_success,
            "on": plan.on_failure,
        }
        group = named.get(place.group)
        return (plan.steps[int(place.group[1:]) - 1].operations if group is None else group)[place.number]

    @property
    def _plan(self) -> StepPlan:
        if self.plan is None:
            raise ValueError("no plan was accepted")
        return self.plan

    def name_of(self, place: Place) -> str:
        """What people call an operation: the step's id and the tool."""
        tool = self.operation(place).tool
        if place.group in _GROUPS:
            return f"{_GROUPS[place.group]} {place.number + 1} ({tool})"
        return f"step {self._plan.steps[int(place.group[1:]) - 1].id} ({tool})"

    def _is_done(self, place: Place, open_: Collection[Place]) -> bool:
        return place in self.outputs and place not in open_

    def _has_begun(self, place: Place, open_: Collection[Place]) -> bool:
        return place in self.outputs or place in self.errors or place in open_

    def done_steps(self, open_: Collection[Place]) -> list[int]:
        """The plan's steps that have their results, by index."""
        busy = {place.group for place in open_}
        return [
            index
            for index in range(len(self._plan.steps))
            if not self.left[f"o{index + 1}"] and f"o{index + 1}" not in busy
        ]

    def _result(self, index: int) -> Any:
        step = self._plan.steps[index]
        outputs = [self.outputs[Place(f"o{index + 1}", n)] for n in range(len(step.operations))]
        return step_result(step, outputs)

    def results(self) -> dict[str, Any]:
        """The results of the steps that are done when nothing is open, by id."""
        return {self._plan.steps[index].id: self._result(index) for index in self.done_steps(())}

    def resolved(self, value: Any) -> Any:
        """A JSON value with its references resolved; what an operation refers to was done before it began.

        Raises:
            ToolError: E0305 a reference leads nowhere.
        """
        names = {parts(reference)[0] for _, reference in references(value)}
        if not names:
            return value
        found = {
            step.id: self._result(index)
            for index, step in enumerate(self._plan.steps)
            if step.id in names and not self.left[f"o{index + 1}"]
        }
        return resolve(value, found)

    def arguments(self, place: Place) -> Any:
        """The arguments of an operation, its references resolved.

        Raises:
            ToolError: E0305 a reference leads nowhere.
        """
        return self.resolved(self.operation(place).args)

    def fault(self, open_: Collection[Place]) -> tuple[Place, str] | None:
        """The first operation that has failed, or a validation that does not hold, and why."""
        for place, why in self.errors.items():
            if place.group != "on":
                return place, why
        for number, check in enumerate(self._plan.validation):
            place = Place("ov", number)
            if self._is_done(place, open_):
                output = self.outputs[place]
                condition = check.success_condition
                if not (holds(condition, output) if condition else default_holds(output)):
                    wanted = (
                        f"{condition} does not hold of" if condition else "it does not look like a success:"
                    )
                    return place, f"{wanted} {shortened(output)}"
        return None

    def next(self, open_: Collection[Place]) -> list[Place]:
        """The operations that begin now: of the steps, else the validations, else of on_success."""
        plan = self._plan
        done = self.done_steps(open_)
        if len(done) < len(plan.steps):
            return self._of_steps(done, open_)
        checks = [Place("ov", n) for n in range(len(plan.validation))]
        if not all(self._is_done(place, open_) for place in checks):
            return [place for place in checks if not self._has_begun(place, open_)]
        return self._in_order("oy", len(plan.on_success), open_)

    def next_after_failure(self, open_: Collection[Place]) -> list[Place]:
        """The operation of on_failure that begins now; one that fails does not keep the others from it."""
        return self._in_order("on", len(self.plan.on_failure) if self.plan else 0, open_)

    def _of_steps(self, done: Collection[int], open_: Collection[Place]) -> list[Place]:
        busy = {place.group for place in open_}
        found: list[Place] = []
        for index in ready(self._plan, done):
            step, group = self._plan.steps[index], f"o{index + 1}"
            count = len(step.operations)
            if not step.parallel:
                found += self._in_order(group, count, open_)
            elif group not in busy and self.left[group] == count:  # they all begin at once
                found += [place for n in range(count) if not self._has_begun(place := Place(group, n), open_)]
        return found

    def _in_order(self, group: str, count: int, open_: Collection[Place]) -> list[Place]:
        for number in range(count):
            place = Place(group, number)
            if place in open_:
                return []
            if not self._has_begun(place, open_):
                return [place]
        return []

    def told(self) -> str:
        """What the steps gave, as a text: in full what no other step is made of, the rest cut off where it is long."""
        if self.plan is None:
            return ""
        used = {name for step in self.plan.steps for name in step.depends_on}
        return "\n\n".join(
            f"[{name}]: {shortened(result) if name in used else text_of(result)}"
            for name, result in self.results().items()
        )


_GROUPS: Mapping[str, str] = {"ov": "validation", "oy": "on_success", "on": "on_failure"}
_FOLD: dict[type[ev.Event], Callable[[PlanRun, Any], None]] = {
    ev.PlanAccepted: PlanRun._accepted,  # noqa: SLF001 - the table of the class above
    ev.PlanRejected: PlanRun._rejected,  # noqa: SLF001
    ev.PlanFailed: PlanRun._failed,  # noqa: SLF001
    ev.ToolCompleted: PlanRun._completed,  # noqa: SLF001
    ev.ToolRefused: PlanRun._refused,  # noqa: SLF001
    ev.ToolFailed: PlanRun._tool_failed,  # noqa: SLF001
    ev.ToolLost: PlanRun._tool_lost,  # noqa: SLF001
    ev.ChildCompleted: PlanRun._child_completed,  # noqa: SLF001
    ev.ChildFailed: PlanRun._refused,  # noqa: SLF001
    ev.ApprovalRequested: PlanRun._asked,  # noqa: SLF001
    ev.ApprovalDecided: PlanRun._decided,  # noqa: SLF001
    ev.ModelCompleted: PlanRun._wrote,  # noqa: SLF001
    ev.Replaced: PlanRun._replaced,  # noqa: SLF001
    ev.AnswerRefused: PlanRun._blocked,  # noqa: SLF001
    ev.BudgetReached: PlanRun._budget_reached,  # noqa: SLF001
    ev.MessageReceived: PlanRun._said,  # noqa: SLF001
    ev.MessagesTaken: PlanRun._taken,  # noqa: SLF001
}


def messages_result(taken: Iterable[ev.MessageReceived]) -> dict[str, Any]:
    """What a tool gives that takes messages."""
    return {"messages": [{"text": said.message.text, "by": said.by} for said in taken]}


def _words(error: ev.ErrorInfo) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
