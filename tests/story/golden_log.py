"""Golden logs: the events of an execution and of all below it, as text, held against a file.

One line an event: its kind, its step, and the agent that it is about. Ids, times and tokens are left out, and events of
children and tasks that end side by side are sorted, because nothing says which of them is first.

    GOLDEN=write python -m pytest tests/story/test_strategies.py      writes the files anew; look at what has changed
"""

import itertools
import os
from pathlib import Path
from typing import Any

from perdure import AgentRuntime
from perdure.wire.types import EventRecord

FOLDER = Path(__file__).parent / "golden"
# Beside one another these may come in any order.
_SIDE_BY_SIDE = frozenset({"tool_completed", "child_completed", "child_failed"})
# field of an event -> how the line shows it
_SHOWN = {
    "agent": "{}",
    "strategy": "strategy {}",
    "role": "as {}",
    "by": "by {}",
    "function": "{}",
    "tool": "{}",
    "open": "open {}",
    "met": "met {}",
    "stop": "stop {}",
    "last": "the last",
    "decision": "{}",
    "guard": "{}",
    "passed": "passed {}",
    "action": "then {}",
    "finish_reason": "{}",
    "handover": "hands over",
}
# Of these `by` is a person, and the tool is told by the step's first event.
_LEFT_OUT = {"approval_decided": {"by"}, "execution_started": {"agent"}}


def log_of(runtime: AgentRuntime, execution_id: str) -> str:
    """The events of an execution and of all below it."""
    return "\n\n".join(_logs(runtime, execution_id)) + "\n"


def _logs(runtime: AgentRuntime, execution_id: str) -> list[str]:
    records = _records(runtime, execution_id)
    agent = records[0].event["agent"]
    # When a task is given to a worker is chance, and what came of it says that it was.
    lines = [_line(r.event) for r in records if r.event["kind"] != "tool_started"]
    found = [f"{agent}\n" + "\n".join(f"  {line}" for line in _settled(lines))]
    children = [r.event for r in records if r.event["kind"] == "child_requested"]
    for child in sorted(children, key=lambda event: event["step"]):
        found += _logs(runtime, child["child_id"])
    return found


def _records(runtime: AgentRuntime, execution_id: str) -> list[EventRecord]:
    async def read() -> list[EventRecord]:
        api = (await runtime.session.connection()).api
        return (await api.events(execution_id, 0, 500)).events

    return runtime.session.call(read())


def _line(event: dict[str, Any]) -> str:
    kind = event["kind"]
    shown = [
        form.format(_word(event[field]))
        for field, form in _SHOWN.items()
        if field in event and field not in _LEFT_OUT.get(kind, ())
    ]
    return " ".join([kind, *filter(None, [event.get("step", "")]), *shown])


def _word(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _settled(lines: list[str]) -> list[str]:
    """The lines, those that stand side by side by chance in the order of the alphabet."""
    found: list[str] = []
    for by_chance, group in itertools.groupby(lines, key=lambda line: line.split()[0] in _SIDE_BY_SIDE):
        same = list(group)
        found += sorted(same) if by_chance else same
    return found


def hold(runtime: AgentRuntime, execution_id: str, name: str) -> None:
    """Hold the log of an execution against its golden file."""
    path = FOLDER / f"{name}.txt"
    log = log_of(runtime, execution_id)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(log, encoding="utf-8")
    assert log == path.read_text(encoding="utf-8"), (
        f"{path.name} differs; see {__name__} for how to write it anew"
    )
