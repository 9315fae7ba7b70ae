"""What really ran: every attempt at a tool or function of a run, as the worker saw it.

The journal says what was recorded; the ledger says what happened. A crash test holds one against the other.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.calling import Call
from perdure.agents.context import ToolContext
from perdure.agents.functions import Served, Steps, WorkerFunction
from perdure.agents.schema import bind_arguments
from perdure.agents.tools import ToolDef
from perdure.core.errors import DefinitionError
from perdure.worker.functions import queue_functions, queue_name


@dataclass
class ToolAttempt:
    """One attempt at a call of a tool or function.

    Attributes:
        key: its idempotency key.
        epoch: which attempt of the step, counted from 1.
        ended: whether the function returned or raised; False: it was cut off.
        error: what it raised.
    """

    agent: str
    tool: str
    execution_id: str
    step: str
    epoch: int
    key: str
    arguments: dict[str, Any]
    ended: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass
class Ledger:
    """All attempts of a run, in the order in which they began.

    Attributes:
        began, ended: told of each attempt at once.
    """

    attempts: list[ToolAttempt] = field(default_factory=list)
    began: Callable[[ToolAttempt], None] = lambda _: None
    ended: Callable[[ToolAttempt], None] = lambda _: None

    def of(self, tool: str) -> list[ToolAttempt]:
        """The attempts at one tool."""
        return [attempt for attempt in self.attempts if attempt.tool == tool]

    def watched(self, served: Served, fake: "Fake | None") -> WorkerFunction:
        """*served*, or *fake* in its place, with each attempt written down."""

        def begin(arguments: dict[str, Any], context: ToolContext) -> Steps:
            attempt = ToolAttempt(
                context.agent_name,
                context.tool_name,
                context.execution_id,
                context.step,
                context.attempt,
                context.idempotency_key,
                arguments,
            )
            self.attempts.append(attempt)
            self.began(attempt)
            try:
                value = yield from _steps(served if fake is None else fake, arguments, context)
            except GeneratorExit:
                raise
            except BaseException as error:
                attempt.ended, attempt.error = True, error
                self.ended(attempt)
                raise
            attempt.ended, attempt.result = True, value
            self.ended(attempt)
            return value  # type: ignore[no-any-return]  # any JSON value: a worker does not mind

        return WorkerFunction(served.name, served.where, begin)


class Fake:
    """What stands in for a tool: a function of its arguments (and the context, if it asks for it), a value, an error."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._wants: frozenset[str] = frozenset()
        if callable(value) and not isinstance(value, ToolDef):
            self._wants = frozenset(inspect.signature(value).parameters)

    def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """The call to make, or the value itself."""
        value = self._value
        if isinstance(value, ToolDef):
            return Call(value, (), bind_arguments(value, arguments, context))
        if isinstance(value, BaseException):
            raise value
        if callable(value):
            given = {"context": context} if "context" in self._wants and "context" not in arguments else {}
            return Call(value, (), arguments | given)
        return value


def _steps(served: Served | Fake, arguments: dict[str, Any], context: ToolContext) -> Any:
    if isinstance(served, WorkerFunction):
        return (yield from served.begin(arguments, context))
    if isinstance(served, Fake):
        made = served.call(arguments, context)
        return (yield made) if isinstance(made, Call) else made
    return (yield Call(served, (), bind_arguments(served, arguments, context)))


def watched_functions(
    agent: Agent, fakes: Mapping[str, Any] | None, ledger: Ledger
) -> dict[str, WorkerFunction]:
    """The functions of the agent and of all below it, by queue name, *fakes* in the place of those that they name.

    Args:
        agent: the agent.
        fakes: by the tool's name, or by `agent.tool`.
        ledger: what runs is written here.

    Raises:
        DefinitionError: E0106 no agent has a tool of that name.
    """
    left = dict(fakes or {})
    used: set[str] = set()
    found: dict[str, WorkerFunction] = {}
    for queue, served in (queue_functions(agent) | _elsewhere(agent)).items():
        name = queue.partition(".")[2]
        given = next((key for key in (queue, name) if key in left), None)
        used |= {key for key in (queue, name) if key in left}
        if given is not None:
            fake = left[given]
            found[queue] = ledger.watched(served, fake if isinstance(fake, Fake) else Fake(fake))
        elif not (isinstance(served, ToolDef) and served.func is None):
            found[queue] = ledger.watched(served, None)
    unknown = sorted(set(left) - used)
    if unknown:
        known = sorted({tool.name for one in agent.tree() for tool in one.tools})
        raise DefinitionError(
            "E0106",
            f"No agent has a tool {', '.join(map(repr, unknown))}",
            where=agent.where,
            fix=f"There are: {', '.join(known) or 'none'}.",
        )
    return found


def _elsewhere(agent: Agent) -> dict[str, ToolDef[..., Any]]:
    """Tools whose functions are not in this process, which only a fake can serve."""
    return {
        queue_name(one.name, tool.name): tool for one in agent.tree() for tool in one.tools if tool.external
    }
