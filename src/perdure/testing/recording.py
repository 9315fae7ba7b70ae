"""Recordings: the journal of a run as a file, to be looked at, kept under version control and replayed.

A recording is lines of JSON. The first says what it is: `perdure_recording` (the version of the format), the agent, and
`sha256` of all lines that follow. Then, for each execution of the tree, parents first, a line `{"execution": ...}` with its
path and what the server says of it, and a line for each of its events.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from perdure.agents.results import AgentResult
from perdure.client.default import default_session
from perdure.client.handle import HasSession
from perdure.core import events as ev
from perdure.core.errors import ClientError
from perdure.testing.tree import Node, RunResult, read_events, read_tree
from perdure.wire.types import EventRecord, ExecutionAnswer

FORMAT = 1
_FIX = "Record the execution anew, or take the file from version control."


@dataclass(frozen=True)
class Recording:
    """A recorded run.

    Attributes:
        tree: the execution and all below it.
    """

    tree: Node

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self.tree.agent

    @property
    def started(self) -> ev.ExecutionStarted:
        """How it was started."""
        first = self.tree.events[0]
        if not isinstance(first, ev.ExecutionStarted):
            raise _bad("(in memory)", "it does not begin with the start of an execution")
        return first

    @property
    def messages(self) -> list[str]:
        """What people said to it while it ran."""
        events = (event for _, _, event in self.tree.in_order())
        return [event.message.text for event in events if isinstance(event, ev.MessageReceived)]

    @property
    def nodes(self) -> dict[str, Node]:
        """Every execution, by its path."""
        return {node.path: node for node in self.tree.walk()}

    def save(self, path: str | Path) -> Path:
        """Write it; the same run gives the same bytes."""
        lines = []
        for node in self.tree.walk():
            lines.append({"path": node.path, "execution": node.answer})
            lines += [{"path": node.path, "record": record} for record in node.records]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        header = {
            "perdure_recording": FORMAT,
            "agent": self.agent,
            "execution_id": self.tree.answer.execution_id,
            "sha256": hashlib.sha256(body).hexdigest(),
        }
        target = Path(path)
        target.write_bytes(msgspec.json.encode(header) + b"\n" + body)
        return target

    @classmethod
    def load(cls, path: str | Path) -> "Recording":
        """Read one.

        Raises:
            ClientError: E0715 the file is none, was changed, or is of a newer version.
        """
        try:
            first, _, body = Path(path).read_bytes().partition(b"\n")
            header = msgspec.json.decode(first, type=dict[str, Any])
        except (OSError, msgspec.MsgspecError) as error:
            raise _bad(path, str(error)) from error
        version = header.get("perdure_recording")
        if not isinstance(version, int):
            raise _bad(path, "its first line is not the header of a recording")
        if version > FORMAT:
            raise _bad(path, f"it is of version {version}, and this library knows versions up to {FORMAT}")
        if header.get("sha256") != hashlib.sha256(body).hexdigest():
            raise _bad(path, "it was changed since it was written: its SHA-256 does not fit")
        try:
            return cls(_tree([msgspec.json.decode(line, type=dict[str, Any]) for line in body.splitlines()]))
        except (msgspec.MsgspecError, KeyError, IndexError, ValueError) as error:
            raise _bad(path, str(error)) from error


def _tree(lines: list[dict[str, Any]]) -> Node:
    nodes: dict[str, Node] = {}
    for line in lines:
        path = line["path"]
        if "execution" in line:
            nodes[path] = Node(path, msgspec.convert(line["execution"], ExecutionAnswer), [], [])
        else:
            nodes[path].records.append(msgspec.convert(line["record"], EventRecord))
    for path, node in nodes.items():
        node.events.extend(read_events(node.records))
        if path:
            parent, _, step = path.rpartition("/")
            nodes[parent].children[step] = node
    return nodes[""]


def _bad(path: str | Path, why: str) -> ClientError:
    return ClientError("E0715", "The recording cannot be read", where=str(path), why=why, fix=_FIX)


async def record_async(
    run: AgentResult | str, path: str | Path, *, runtime: HasSession | None = None
) -> Recording:
    """See `record`."""
    if isinstance(run, RunResult) and run.tree is not None:
        recording = Recording(run.tree)
    else:
        execution_id = run if isinstance(run, str) else run.execution_id
        session = default_session() if runtime is None else runtime.session
        recording = Recording(await read_tree((await session.connection()).api, execution_id))
    recording.save(path)
    return recording


def record(run: AgentResult | str, path: str | Path, *, runtime: HasSession | None = None) -> Recording:
    """Write an execution, and all below it, to a file from which `replay` runs it again.

    The file holds prompts, answers, arguments and results as the journal has them: look at it before it is shared.

    Args:
        run: the result of `mock_run`, any result, or an execution's id.
        path: where to write.
        runtime: whose server the execution is on; the default runtime's when it is None.

    Raises:
        ExecutionError: E0401 there is no such execution.
    """
    if isinstance(run, RunResult) and run.tree is not None:
        recording = Recording(run.tree)
        recording.save(path)
        return recording
    session = default_session() if runtime is None else runtime.session
    return session.call(record_async(run, path, runtime=runtime))
