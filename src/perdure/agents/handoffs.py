"""Who takes over in a swarm, and whether a pipeline goes on: conditions that are data, or functions."""

from collections.abc import Callable
from typing import Any

from perdure.agents.checks import check_name, invalid_option
from perdure.agents.termination import some_text
from perdure.core import conditions
from perdure.core.conditions import Gate, Handoff


class HandoffCondition:
    """What all of them are: `target` takes over when the condition is met; `condition_data` is what the server gets."""

    target: str
    condition_data: Handoff

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.condition_data})"


class OnToolResult(HandoffCondition):
    """The agent that spoke called the tool, with a result that has the text, if one is given.

    Args:
        target: the agent that takes over, or its name.
        tool_name: the tool.
        result_contains: a text that its result must have; None: any result.

    Raises:
        DefinitionError: E0104 a name; E0106 an empty text.
    """

    def __init__(self, target: Any, tool_name: str, result_contains: str | None = None) -> None:
        self.target = name_of(target)
        check_name(tool_name, "tool", _WHERE)
        if result_contains is not None:
            some_text("result_contains", result_contains, _WHERE)
        self.condition_data = conditions.OnToolResult(self.target, tool_name, result_contains)


class OnTextMention(HandoffCondition):
    """What was said last has the text, in upper or lower case.

    Raises:
        DefinitionError: E0104 the target's name; E0106 an empty text.
    """

    def __init__(self, target: Any, text: str) -> None:
        self.target = name_of(target)
        self.condition_data = conditions.OnTextMention(self.target, some_text("text", text, _WHERE))


class OnCondition(HandoffCondition):
    """A function of yours says so, on a worker.

    Args:
        target: the agent that takes over, or its name.
        condition: is given `{"text": ..., "agent": ..., "messages": [...]}`: what was said last, by whom, and the
            conversation. It returns a bool; anything else, and any exception, fails the execution.

    Raises:
        DefinitionError: E0104 the target's name; E0106 not a function.
    """

    def __init__(self, target: Any, condition: Callable[..., Any]) -> None:
        self.target = name_of(target)
        if not callable(condition):
            raise invalid_option("condition", condition, "a function", _WHERE)
        self.condition = condition
        self.condition_data = conditions.OnFunction(self.target)


class TextGate:
    """Ends a pipeline when a stage's output has the text.

    Args:
        text: what to look for.
        case_sensitive: whether upper and lower case differ.

    Raises:
        DefinitionError: E0106 an empty text.
    """

    def __init__(self, text: str, case_sensitive: bool = True) -> None:  # noqa: FBT001, FBT002 - a known signature
        self.text = some_text("text", text, "gate")
        self.case_sensitive = bool(case_sensitive)

    def __repr__(self) -> str:
        return f"TextGate({self.text!r}, case_sensitive={self.case_sensitive})"


def gate_data(gate: TextGate | Callable[..., Any] | None) -> Gate | None:
    """The gate as data."""
    if gate is None:
        return None
    if isinstance(gate, TextGate):
        return conditions.TextGate(gate.text, gate.case_sensitive)
    return conditions.FunctionGate()


def name_of(agent: Any) -> str:
    """The name of an agent that is given as one, or by its name.

    Raises:
        DefinitionError: E0104.
    """
    return check_name(agent if isinstance(agent, str) else getattr(agent, "name", agent), "agent", _WHERE)


_WHERE = "handoff"
