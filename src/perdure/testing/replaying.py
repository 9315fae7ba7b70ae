"""Replay: a recorded run, run again on the agent as it is now, with models, tools and people answered from the recording.

What is looked at is the agent: its strategy, tools, guardrails, limits, output type. An answer is found by its place
(execution and step); a tool's result by its place and arguments, else by tool and arguments in the same execution. What
the recording does not have is a divergence, and fails the call: nothing is made up, and no tool is run unless it was
asked for. Functions of the agent's own (routers, guardrails, callbacks) run for real.
"""

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from perdure.agents.agent import Agent
from perdure.agents.calling import Call as FunctionCall
from perdure.agents.context import ToolContext
from perdure.core import events as ev
from perdure.core.errors import ModelError, PerdureError, ToolError
from perdure.core.ids import content_hash
from perdure.core.messages import MediaPart
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest
from perdure.engine.ports import Models
from perdure.testing.approvals import Approve, Decision
from perdure.testing.ledger import Fake
from perdure.testing.model import MockModel
from perdure.testing.moments import moments_of
from perdure.testing.recording import Recording
from perdure.testing.runs import TIMEOUT_S, Call, Trial, models_of, play
from perdure.testing.scripts import RunModels, Scripts, Speakers
from perdure.testing.tree import Node, RunResult, run_result
from perdure.testing.virtual import VirtualLoop
from perdure.wire.types import ApprovalAnswer

_CALL_KINDS = frozenset({"worker"})


@dataclass(frozen=True)
class Divergence:
    """Where two runs part: the moment as it was recorded, and as it is now; None where one has ended."""

    index: int
    recorded: str | None
    now: str | None

    def __str__(self) -> str:
        return (
            f"at moment {self.index + 1}\n"
            f"  recorded: {self.recorded or '(nothing more)'}\n"
            f"  now:      {self.now or '(nothing more)'}"
        )


@dataclass(frozen=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        same: whether the run was the recorded one in every moment.
        first: where they part.
        missing: calls that the recording has no answer for.
        plan_changed: whether the agent compiles to another plan than the recorded one. That alone is no divergence.
        diff: of the answers, as a unified diff; empty when they are the same.
        result: the run; None when it did not come to its end, and `error` says why.
    """

    same: bool
    first: Divergence | None
    missing: tuple[str, ...]
    plan_changed: bool
    diff: str
    result: RunResult | None
    error: PerdureError | None = None

    def __str__(self) -> str:
        if self.same:
            return "the same run" + (" of another plan" if self.plan_changed else "")
        parts = [f"another run: {self.first}" if self.first else "another run"]
        parts += [f"not in the recording: {each}" for each in self.missing]
        parts += [self.diff] if self.diff else []
        parts += [f"it did not end: {self.error}"] if self.error else []
        return "\n".join(parts)

    def assert_same(self) -> None:
        """Raise AssertionError with all of it, unless the run was the recorded one."""
        if not self.same:
            raise AssertionError(str(self))


class _Source:
    """The recording, as the run asks it. `missing` collects what it does not have."""

    def __init__(self, recording: Recording) -> None:
        self.nodes = recording.nodes
        self.missing: list[str] = []
        self.paths: Callable[[], Speakers | None] = lambda: None
        self._used: set[tuple[str, str]] = set()

    async def node(self, execution_id: str) -> Node | None:
        """The recorded execution in the place of this one."""
        paths = self.paths()
        return None if paths is None else self.nodes.get(await paths.path(execution_id))

    def call(self, node: Node, step: str, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """The step of the recorded call that this one is."""
        wanted = (tool, content_hash(arguments))
        requested = [e for e in node.events if isinstance(e, ev.ToolRequested)]
        same = [e.step for e in requested if (e.tool, content_hash(e.arguments)) == wanted]
        free = [s for s in same if (node.path, s) not in self._used]
        found = step if step in same else next(iter(free), None)
        if found is not None:
            self._used.add((node.path, found))
        return found


class _RecordedModels:
    """`Models` that answer from a recording."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self.speakers: Speakers | None = None

    def check(self, model: ModelRef) -> None:
        """Every model was called when it was recorded."""

    async def aclose(self) -> None:
        """Nothing is open."""

    async def complete(self, request: ModelRequest, on_delta: Callable[[Delta], None]) -> ModelReply:
        """The recorded answer of this step.

        Raises:
            ModelError: as it was recorded; E0211 the recording has none.
        """
        node = await self._source.node(request.execution_id)
        events = [] if node is None else [e for e in node.events if getattr(e, "step", "") == request.step]
        for event in events:
            if isinstance(event, ev.ModelCompleted):
                if event.message.text:
                    on_delta(Delta("text", event.message.text))
                return ModelReply(
                    event.message, event.usage, event.finish_reason, event.model, event.response_id
                )
        last = node.events[-1] if node is not None else None
        if events and isinstance(last, ev.ExecutionFailed) and last.error.code.startswith("E02"):
            raise ModelError(last.error.code, last.error.what, where=last.error.where)
        place = f"the model's answer at {node.path if node else '?'}:{request.step}"
        self._source.missing.append(place)
        raise ModelError("E0211", f"The recording does not have {place}")


class _RecordedTool(Fake):
    """A tool that answers from a recording."""

    def __init__(self, source: _Source) -> None:
        super().__init__(None)
        self._source = source

    def call(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        """The call that looks it up."""
        return FunctionCall(self._answer, (arguments, context), {})

    async def _answer(self, arguments: dict[str, Any], context: ToolContext) -> Any:
        source = self._source
        node = await source.node(context.execution_id)
        step = None if node is None else source.call(node, context.step, context.tool_name, arguments)
        for event in reversed(node.events if node is not None else []):
            if step is None or getattr(event, "step", None) != step:
                continue
            if isinstance(event, ev.ToolCompleted):
                _put_state(context, event.state or {})
                return event.result
            if isinstance(event, ev.ToolFailed):
                error = event.error
                raise _RecordedError(error.code, error.what, where=error.where, why=error.why, fix=error.fix)
            if isinstance(event, ev.ToolLost):
                raise _RecordedError(
                    "E0308", "It is not known whether this call took effect", why=event.reason
                )
        listed = ", ".join(f"{k}={v!r}" for k, v in arguments.items())
        source.missing.append(f"the result of {context.tool_name}({listed}) at {context.step}")
        raise _RecordedError("E0301", f"The recording does not have {context.tool_name}({listed})")


class _RecordedError(ToolError):
    """A recorded outcome: another attempt has the same."""

    retryable = False


def _put_state(context: ToolContext, changed: Mapping[str, Any]) -> None:
    for key, value in changed.items():
        if value is None:
            context.state.pop(key, None)
        else:
            context.state[key] = value


class _RecordedPerson:
    """A policy for approvals that decides as it was decided."""

    def __init__(self, source: _Source, otherwise: Any) -> None:
        self._source = source
        self._otherwise = otherwise

    async def __call__(self, approval: ApprovalAnswer) -> Any:
        """What was recorded of the approval in this place; else what the test's own policy says."""
        node = await self._source.node(approval.execution_id)
        for event in node.events if node is not None else []:
            if isinstance(event, ev.ApprovalDecided) and event.step == approval.step:
                return Decision(event.decision == "approved", event.reason, event.arguments, event.answer)
        self._source.missing.append(f"the decision on {approval.tool} at {approval.step}")
        said = self._otherwise
        if isinstance(said, Mapping):
            said = said.get(approval.tool)
        return said(approval) if callable(said) else said


def replay(
    path: str | Path | Recording,
    agent: Agent,
    *,
    prompt: str | None = None,
    model: str | MockModel | Models | None = None,
    script: Scripts | None = None,
    tools: Mapping[str, Any] | None = None,
    live_tools: Sequence[str] = (),
    approve: Approve = None,
    timeout: float = TIMEOUT_S,
) -> ReplayReport:
    """Run a recording again on *agent*, in this process, and say where it goes another way.

    Without further arguments nothing outside is asked. With *model* or *script* the models answer anew, and only tools
    and people are answered from the recording: what would another model, or another prompt, have done?

    Args:
        path: what `record` wrote.
        agent: the agent as it is now.
        prompt: another one than the recorded.
        model: answers the model calls, as for `mock_run`.
        script: the same.
        tools: what stands in for tools, as for `mock_run`; before the recording.
        live_tools: names of tools that run for real.
        approve: decides what the recording has no decision for.
        timeout: seconds of virtual time.

    Raises:
        ClientError: E0715 the file is no recording, or was changed.
        DefinitionError: E01xx the agent or an argument is wrong.
    """
    recording = path if isinstance(path, Recording) else Recording.load(path)
    started = recording.started
    source = _Source(recording)
    models: RunModels
    if model is None and script is None:
        models = _RecordedModels(source)
    else:
        models = models_of(script, model, agent.name)
    source.paths = lambda: models.speakers
    recorded = _recorded_tools(source, agent, live_tools)
    media = [part for part in started.input.parts if isinstance(part, MediaPart)]
    text = started.input.text if prompt is None else prompt
    call = Call(text, started.session_id, media, started.context, timeout, recording.messages)

    async def work(loop: VirtualLoop) -> RunResult:
        trial = Trial(
            loop,
            agent,
            models,
            tools={**recorded, **(tools or {})},
            approve=_RecordedPerson(source, approve),
        )
        tree = await trial.run(call)
        return run_result(tree, agent, attempts=trial.ledger.attempts)

    try:
        result = play(work)
    except PerdureError as error:
        if error.code.startswith("E01"):
            raise
        return ReplayReport(False, None, tuple(source.missing), False, "", None, error)
    return _report(recording, result, source.missing)


def _recorded_tools(source: _Source, agent: Agent, live: Sequence[str]) -> dict[str, Fake]:
    return {
        tool.name: _RecordedTool(source)
        for one in agent.tree()
        for tool in one.tools
        if tool.kind in _CALL_KINDS and tool.name not in live
    }


def _report(recording: Recording, result: RunResult, missing: list[str]) -> ReplayReport:
    tree = result.tree
    if tree is None:
        raise ValueError("a run of this module has its tree")
    before, now = moments_of(recording.tree), moments_of(tree)
    first = next(
        (
            Divergence(i, None if a is None else str(a), None if b is None else str(b))
            for i, (a, b) in enumerate(zip_longest(before, now))
            if a != b
        ),
        None,
    )
    diff = _diff(recording.tree.answer.output, tree.answer.output)
    changed = recording.tree.answer.plan_hash != tree.answer.plan_hash
    same = first is None and not missing
    return ReplayReport(same, first, tuple(missing), changed, diff, result)


def _diff(before: Any, now: Any) -> str:
    return "\n".join(difflib.unified_diff(_lines(before), _lines(now), "recorded", "now", lineterm=""))


def _lines(output: Any) -> list[str]:
    if isinstance(output, str):
        return output.splitlines()
    return json.dumps(output, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
