"""One attempt at a task: from the leased record to the record of its outcome.

Whatever the user's function does ends in a `ResultRecord`: a value, or an error with its code. Only the
worker's own cancellation passes through.
"""

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from perdure.agents.context import ToolContext
from perdure.agents.functions import Served, WorkerFunction
from perdure.agents.schema import bind_arguments
from perdure.agents.values import to_json_value
from perdure.clock import Clock
from perdure.core.errors import PerdureError, ToolError
from perdure.wire.types import ResultRecord, TaskRecord
from perdure.worker.failures import error_record
from perdure.worker.functions import answer_of
from perdure.worker.threads import Threads

LARGEST_RESULT = 10 * 1024 * 1024
CLEAN_UP_S = 1.0  # how long what was cancelled may take to end before it is said to be left behind

Lease = tuple[str, str, int]  # execution, step, epoch

_log = logging.getLogger("perdure.worker")
_tool_log = logging.getLogger("perdure.tool")
_ENCODER = msgspec.json.Encoder()


class Attempt:
    """A task in hand.

    Attributes:
        record: the outcome, once there is one.
        size: its size in bytes, about.
        is_lost: the lease is gone and nobody wants the outcome.
        work: what runs it.
    """

    def __init__(
        self,
        task: TaskRecord,
        tool: Served | None,
        threads: Threads,
        clock: Clock,
        *,
        dependencies: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.lease: Lease = (task.execution_id, task.step, task.epoch)
        self.where = f"{task.agent}.{task.tool}, execution {task.execution_id}, step {task.step}"
        self.record: ResultRecord | None = None
        self.size = 0
        self.is_lost = False
        self.work: asyncio.Task[None] | None = None
        self._tool = tool
        self._threads = threads
        self._clock = clock
        self._replaced = False
        self._call: asyncio.Future[Any] | None = None
        self._context = _context_of(task, dependencies or {}, metadata or {})

    async def perform(self) -> None:
        """Run the function; `record` has the outcome, unless the lease was lost."""
        began = self._clock.monotonic()
        try:
            if self.is_lost:
                return
            outcome = await self._run()
        except asyncio.CancelledError:
            if not self.is_lost:
                raise
            return
        duration_ms = round((self._clock.monotonic() - began) * 1000)
        if not self.is_lost:
            self.record = msgspec.structs.replace(outcome, duration_ms=duration_ms)

    def lose(self) -> None:
        """Stop: the result is no longer wanted. A thread cannot be stopped, but can look at its context."""
        self.is_lost = True
        self._context.cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def replace(self, error: PerdureError) -> bool:
        """Put *error* in place of a result that the server refuses; False: that was done before."""
        if self._replaced:
            return False
        self._replaced = True
        if error.code == "E0604":
            error = _too_large(self.size, self.where)
        self.record, self.size = self._failed(error), 0
        return True

    async def _run(self) -> ResultRecord:
        try:
            tool = self._served()
            before = {key: _ENCODER.encode(value) for key, value in self.task.state.items()}
            value = await self._invoke(tool)
            encoded = _encoded(to_json_value(value, self.where), self.where)
            state = changed_state(before, self._context.state, self.where)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a named boundary: the user's function may raise anything
            return self._failed(error)
        self.size = len(encoded)
        return self._result(result=msgspec.Raw(encoded), state=state)

    def _served(self) -> Served:
        if self._tool is None:
            raise ToolError("E0309", "This worker has no such tool", where=self.where)
        return self._tool

    async def _invoke(self, tool: Served) -> Any:
        """What the function returns within its time.

        Raises:
            ToolError: E0302 it did not end in time; E0305 the arguments do not fit; E0313 the answer of a function that
                is no tool is not one.
        """
        call = self._call = self._begin(tool)
        limit_ms = self.task.timeout_ms
        try:
            done, _ = await asyncio.wait([call], timeout=None if limit_ms is None else limit_ms / 1000)
        except asyncio.CancelledError:
            self._context.cancelled.set()
            await _give_up(call, self.where)
            raise
        if done:
            return _outcome_of(call)
        self._context.cancelled.set()
        await _give_up(call, self.where)
        raise ToolError(
            "E0302",
            f"The tool {self.task.tool} did not finish within {(limit_ms or 0) / 1000:g} s",
            where=self.where,
            fix="Give it more time with @tool(timeout_seconds=...), or make it look at context.is_cancelled.",
        )

    def _begin(self, tool: Served) -> asyncio.Future[Any]:
        if isinstance(tool, WorkerFunction):
            steps = tool.begin(self.task.arguments, self._context)
            return asyncio.ensure_future(_contained(functools.partial(answer_of, steps, self._threads)))
        arguments = bind_arguments(tool, self.task.arguments, self._context)
        if tool.is_async:
            return asyncio.ensure_future(_contained(functools.partial(tool, **arguments)))
        variables = contextvars.copy_context()
        return self._threads.run(functools.partial(variables.run, tool, **arguments))

    def _failed(self, error: BaseException) -> ResultRecord:
        wire, retryable = error_record(error, self.task.tool, self.where)
        return self._result(error=wire, retryable=retryable)

    def _result(self, **outcome: Any) -> ResultRecord:
        task = self.task
        return ResultRecord(task.execution_id, task.step, task.epoch, task.token, **outcome)


def changed_state(before: dict[str, bytes], after: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Keys that were added or changed, with their JSON; a key that was removed has None. None: no change.

    Raises:
        ToolError: E0303 a value is not JSON.
    """
    changed: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        encoded = _ENCODER.encode(to_json_value(value, where, root=f"state.{key}"))
        if before.get(key) != encoded:
            changed[key] = msgspec.Raw(encoded)
    return changed or None


def _context_of(task: TaskRecord, dependencies: dict[str, Any], metadata: dict[str, Any]) -> ToolContext:
    ids = {"execution_id": task.execution_id, "step": task.step, "tool": task.tool}
    return ToolContext(
        execution_id=task.execution_id,
        session_id=task.session_id,
        agent_name=task.agent,
        tool_name=task.tool,
        call_id=task.call_id,
        step=task.step,
        attempt=task.epoch,
        idempotency_key=task.idempotency_key,
        state=dict(task.state),
        deadline_ms=task.deadline_ms,
        metadata=metadata,
        dependencies=dependencies,
        logger=logging.LoggerAdapter(_tool_log, ids),
    )


def _encoded(value: Any, where: str) -> bytes:
    encoded = _ENCODER.encode(value)
    if len(encoded) > LARGEST_RESULT:
        raise _too_large(len(encoded), where)
    return encoded


def _too_large(size: int, where: str) -> PerdureError:
    return ToolError(
        "E0310",
        f"The tool's result is {size / 1024 / 1024:.1f} MB of JSON; {LARGEST_RESULT // 1024 // 1024} MB is the limit",
        where=where,
        fix="Return a summary or a part, and keep the whole in a file or a store, named in the result.",
    )


def _outcome_of(call: asyncio.Future[Any]) -> Any:
    if call.cancelled():  # by itself: when it is the worker's doing, nobody asks for the outcome
        raise ToolError("E0301", "The tool cancelled itself", why="asyncio.CancelledError")
    try:
        return call.result()
    except _ExitError as ended:
        raise ended.asked from None


class _ExitError(Exception):
    """A tool asked for the end of the process."""

    def __init__(self, asked: SystemExit) -> None:
        super().__init__(asked)
        self.asked = asked


async def _contained(call: Callable[[], Any]) -> Any:
    """A task that ends in SystemExit takes its event loop with it, and the worker and all its other tasks too.

    The coroutine is made in here, so that none is left behind when the task is cancelled before it begins.
    """
    try:
        return await call()
    except SystemExit as asked:
        raise _ExitError(asked) from asked


async def _give_up(call: asyncio.Future[Any], where: str) -> None:
    """Cancel a coroutine and let it clean up; a thread goes on, and nobody waits for it.

    A thread that looks at its context returns soon: only of one that does not is it said that it is left behind.
    """
    if not isinstance(call, asyncio.Task):
        call.add_done_callback(_forget)
        asyncio.get_running_loop().call_later(CLEAN_UP_S, _tell_of_thread, call, where)
        return
    call.cancel()
    await asyncio.wait([call], timeout=CLEAN_UP_S)
    if not call.done():
        _log.warning("a coroutine is left behind: %s does not end when it is cancelled", where)
    elif not call.cancelled():
        call.exception()  # taken note of: what it raised while it was stopped is not an error of anybody's


def _forget(call: asyncio.Future[Any]) -> None:
    """Take note of what a thread raised that nobody waits for: it is not an error of anybody's."""
    if not call.cancelled():
        call.exception()


def _tell_of_thread(call: asyncio.Future[Any], where: str) -> None:
    if not call.done():
        _log.warning("a thread is left behind: %s does not return and cannot be stopped", where)
