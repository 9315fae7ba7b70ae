"""Executions made out of others, as users ask for them: retry, rerun, fork, replay; and two compared.

Each of them is a new execution: what has ended stays as it is. The asynchronous methods are in `AsyncHistories`, their
twins that wait in `Histories`; both are part of a handle. `diff` is the runtime's.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.definitions import agent_definition
from perdure.client.history_calls import MakeBody
from perdure.client.session import Session
from perdure.core.errors import ApiError
from perdure.wire.histories import (
    DiffAnswer,
    EditBody,
    ForkBody,
    MakeKind,
    ReplayBody,
    RerunBody,
    RetryBody,
    RowAnswer,
    SideAnswer,
    StepAnswer,
)

_SHOWN = 300  # characters of a value in a difference's text

OnMissing = Literal["fail", "ask", "live"]


class AsyncHistories:
    """The asynchronous half of `Histories`."""

    execution_id: str
    agent: Agent | None
    _session: Session

    async def retry_async(self) -> Self:
        """See `Histories.retry`."""
        return await self._made("retry", RetryBody(), self.agent)

    async def rerun_async(
        self,
        prompt: str | None = None,
        *,
        plan: Literal["same", "current"] = "same",
        agent: Agent | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Self:
        """See `Histories.rerun`."""
        body = RerunBody(
            plan=plan,
            definition=None if agent is None else agent_definition(agent),
            prompt=prompt,
            context=None if context is None else dict(context),
        )
        return await self._made("rerun", body, agent or self.agent)

    async def fork_async(self, at: int | str | None = None, *, edit: Mapping[str, Any] | None = None) -> Self:
        """See `Histories.fork`."""
        return await self._made("fork", ForkBody(at, _edit(edit)), self.agent)

    async def replay_async(
        self,
        *,
        model: str | None = None,
        instructions: str | None = None,
        agent: Agent | None = None,
        on_missing: OnMissing = "fail",
    ) -> Self:
        """See `Histories.replay`."""
        definition = None if agent is None else agent_definition(agent)
        body = ReplayBody(model, instructions, definition, on_missing)
        return await self._made("replay", body, agent or self.agent, serves=on_missing != "fail")

    async def _made(
        self, kind: MakeKind, body: MakeBody, agent: Agent | None, *, serves: bool = True
    ) -> Self:
        connection = await self._session.connection()
        made = await connection.api.make(self.execution_id, kind, body)
        if agent is not None and serves:
            connection.serve_agent(agent)
        handle = copy.copy(self)
        handle.execution_id, handle.agent = made.execution_id, agent
        return handle


def _edit(edit: Mapping[str, Any] | None) -> EditBody:
    try:
        return msgspec.convert(dict(edit or {}), EditBody)
    except msgspec.ValidationError as error:
        known = ", ".join(EditBody.__struct_fields__)
        raise ApiError(
            "E0605", "The edit is not one", why=str(error), fix=f"It may have: {known}."
        ) from error


class Histories(AsyncHistories):
    """What can be made out of an execution. Each gives the handle of the new one."""

    def retry(self) -> Self:
        """Go on from the step that failed, or where it was cancelled. What was recorded before is not done again.

        Raises:
            ExecutionError: E0433 it has not failed.
        """
        return self._session.call(self.retry_async())

    def rerun(
        self,
        prompt: str | None = None,
        *,
        plan: Literal["same", "current"] = "same",
        agent: Agent | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Self:
        """The same request again, from the beginning.

        Args:
            prompt: another prompt.
            plan: same, or current: what is deployed under the agent's name now.
            agent: this agent instead.
            context: another context.
        """
        return self._session.call(self.rerun_async(prompt, plan=plan, agent=agent, context=context))

    def fork(self, at: int | str | None = None, *, edit: Mapping[str, Any] | None = None) -> Self:
        """Go on from a point of this execution, with something changed there.

        Args:
            at: a seq: all up to it stays. A step (`t2.m`, `t1.c0`): it is done again, or what was recorded for it is
                edited. Without it: the beginning.
            edit: `input`, or `answer` (with `calls`), or `result`, as what was recorded; `instructions`, `model`,
                `max_turns` for what comes after.

        Raises:
            ExecutionError: E0432 there is no such point, or the edit does not fit it.
        """
        return self._session.call(self.fork_async(at, edit=edit))

    def replay(
        self,
        *,
        model: str | None = None,
        instructions: str | None = None,
        agent: Agent | None = None,
        on_missing: OnMissing = "fail",
    ) -> Self:
        """The same request with another model, prompt or agent; every call is answered from the recording.

        Args:
            model: for the agent and all agents below it.
            instructions: the agent's own.
            agent: this agent instead.
            on_missing: about a call that was not recorded: `fail` tells the model (E0431), `ask` asks a person, `live`
                makes it.
        """
        return self._session.call(
            self.replay_async(model=model, instructions=instructions, agent=agent, on_missing=on_missing)
        )


# Two compared -------------------------------------------------------------------------------------------


class HasId(Protocol):
    """A handle, or a result."""

    @property
    def execution_id(self) -> str:
        """Of which execution."""


@dataclass(frozen=True)
class ExecutionDiff:
    """Two executions side by side. As text it is for people; `to_dict` is for programs.

    Attributes:
        first: the step at which they part; None when every step is the same.
        same_output: whether they ended the same.
        not_recorded: calls of a replay that its recording did not have.
    """

    first: str | None
    same_output: bool
    not_recorded: tuple[str, ...]
    _answer: DiffAnswer

    @property
    def identical(self) -> bool:
        """Nothing differs."""
        return self.first is None and self.same_output

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self._answer)
        return found

    def __str__(self) -> str:
        return "\n".join(diff_lines(self._answer))


def diff_of(answer: DiffAnswer) -> ExecutionDiff:
    """From the wire."""
    return ExecutionDiff(answer.first, answer.same_output, tuple(answer.not_recorded), answer)


def diff_lines(answer: DiffAnswer) -> list[str]:
    """The comparison for people: `=` the same, `-` the first one's, `+` the second one's."""
    lines = [_side("-", answer.left), _side("+", answer.right), ""]
    for row in answer.rows:
        lines += _row(row)
    lines.append("")
    if answer.first is None:
        lines.append("Every step is the same.")
    else:
        lines.append(f"They part at {answer.first}.")
    lines.append("They ended the same." if answer.same_output else "They did not end the same.")
    if answer.not_recorded:
        lines.append(f"Not recorded: {', '.join(answer.not_recorded)}.")
    return lines


def _side(mark: str, side: SideAnswer) -> str:
    made = f", {side.origin.kind} of {side.origin.execution_id}" if side.origin is not None else ""
    tokens = f"{side.input_tokens} tokens in, {side.output_tokens} out"
    return f"{mark} {side.execution_id}  {side.agent}, {side.status}, {side.turns} turns, {tokens}{made}"


def _row(row: RowAnswer) -> list[str]:
    if row.same and row.left is not None:
        return [f"= {row.step:<10} {_called(row.left)}"]
    sides = (("-", row.left), ("+", row.right))
    return [f"{mark} {row.step:<10} {_told(step)}" for mark, step in sides if step is not None]


def _called(step: StepAnswer) -> str:
    given = "" if step.given is None else f"({_short(step.given)})"
    return f"{step.name or step.kind}{given}"


def _told(step: StepAnswer) -> str:
    error = f"[{step.error}] " if step.error else ""
    return f"{_called(step)} -> {error}{_short(step.outcome)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


class AsyncComparisons:
    """The asynchronous half of `Comparisons`."""

    session: Session

    async def diff_async(self, left: str | HasId, right: str | HasId) -> ExecutionDiff:
        """See `Comparisons.diff`."""
        ids = [e if isinstance(e, str) else e.execution_id for e in (left, right)]
        return diff_of(await (await self.session.connection()).api.diff(*ids))


class Comparisons(AsyncComparisons):
    """Comparing executions, as a part of the runtime."""

    def diff(self, left: str | HasId, right: str | HasId) -> ExecutionDiff:
        """Where two executions part, and what came of each: by id, by handle or by result."""
        return self.session.call(self.diff_async(left, right))
