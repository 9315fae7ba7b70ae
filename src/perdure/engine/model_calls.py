"""Model calls in flight: the effect `CallModel`, performed in the server.

A call's outcome becomes an input of its execution. A call that is aborted, or that a crash takes away, leaves its
step without a record; the machine then asks again, and only what is recorded counts.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from perdure.clock import Clock
from perdure.core import inputs as inp
from perdure.core.effects import AbortModel, CallModel
from perdure.core.errors import ModelError
from perdure.core.events import ErrorInfo
from perdure.core.model import Delta, ModelReply, ModelRequest
from perdure.core.prices import priced
from perdure.core.requests import assemble
from perdure.engine.budgets import Budgets
from perdure.engine.faults import crash_point
from perdure.engine.ports import Models
from perdure.engine.residency import Residency
from perdure.engine.resident import Resident
from perdure.engine.streams import Streams
from perdure.log import get_logger

_log = get_logger("perdure.engine")


class _Call(NamedTuple):
    """A call in flight."""

    task: asyncio.Task[None]
    attempt: int


class ModelCalls:
    """The calls in flight, by execution and step."""

    def __init__(
        self, models: Models, residency: Residency, streams: Streams, budgets: Budgets, clock: Clock
    ) -> None:
        self._budgets = budgets
        self.made = 0
        self.failed = 0
        self._models = models
        self._residency = residency
        self._streams = streams
        self._clock = clock
        self._running: dict[tuple[str, str], _Call] = {}

    def __len__(self) -> int:
        return len(self._running)

    def call(self, resident: Resident, effect: CallModel) -> None:
        """Make the attempt; if it runs already it is left alone, and an earlier attempt of the step is stopped.

        An attempt that is answered already, although the answer is not recorded yet (it came right behind a resume, or
        while that was written), is not made: nobody would take what it says.
        """
        step = resident.state.steps.get(effect.step)
        if step is None or step.status != "asking" or step.attempt != effect.attempt:
            return
        if any(_answers(item, effect) for item, _ in resident.mailbox):
            return
        key = (resident.execution_id, effect.step)
        running = self._running.get(key)
        if running is not None:
            if running.attempt >= effect.attempt:
                return
            running.task.cancel()
        # Put together here, where memory is what the journal has: what comes in next is folded before it is durable.
        request = _request(resident, effect.step, effect.attempt)
        work = self._run(resident, key, effect.attempt, request)
        self._running[key] = _Call(asyncio.get_running_loop().create_task(work), effect.attempt)

    def abort(self, resident: Resident, effect: AbortModel) -> None:
        """Stop the call of a step if it runs."""
        running = self._running.pop((resident.execution_id, effect.step), None)
        if running is not None:
            running.task.cancel()

    async def _run(
        self, resident: Resident, key: tuple[str, str], attempt: int, request: ModelRequest | Exception
    ) -> None:
        execution_id, step = key
        part = self._streams.begin(execution_id, step, attempt)
        self.made += 1

        is_aside = resident.transcript.is_aside(step)

        def on_delta(delta: Delta) -> None:
            if not is_aside:  # what a judge says is no part of the answer
                self._streams.delta(execution_id, part, delta)

        try:
            item = await self._ask(resident, step, attempt, request, on_delta)
        finally:
            # Out of the table before the record, so that another attempt of the same step finds its place free.
            # An abort has taken it out already, and the place may be another call's.
            running = self._running.get(key)
            if running is not None and running.task is asyncio.current_task():
                del self._running[key]
        crash_point("after_effect_before_record", ("model",))
        self._residency.deliver(execution_id, item)

    async def _ask(
        self,
        resident: Resident,
        step: str,
        attempt: int,
        request: ModelRequest | Exception,
        on_delta: Callable[[Delta], None],
    ) -> inp.ModelSucceeded | inp.ModelErrored | inp.BudgetBreached:
        began = self._clock.monotonic()
        model = resident.plan.model
        try:
            asked = _or_raise(request)
            if resident.budgets:
                breached = await self._budgets.reserve(resident, step, attempt, asked)
                if breached is not None:
                    return breached
            # Before the call: while it runs, the one whose budget has the price may end and its book be closed.
            price = self._budgets.price(resident, str(asked.model))
            reply = await self._models.complete(asked, on_delta)
            reply = msgspec.structs.replace(reply, usage=priced(reply.usage, price))
        except ModelError as error:
            return self._errored(step, attempt, error)
        except asyncio.CancelledError as fault:
            if _cancelled():
                raise
            return self._errored(step, attempt, _adapter_fault(model.provider, fault))
        except Exception as fault:  # noqa: BLE001 - E10: one of the named boundaries
            _log.error("model_adapter_fault", model=str(model), error=repr(fault), exc_info=fault)
            return self._errored(step, attempt, _adapter_fault(model.provider, fault))
        return self._succeeded(step, attempt, reply, began)

    def _succeeded(self, step: str, attempt: int, reply: ModelReply, began: float) -> inp.ModelSucceeded:
        duration_ms = round((self._clock.monotonic() - began) * 1000)
        return inp.ModelSucceeded(step, attempt, reply, duration_ms)

    def _errored(self, step: str, attempt: int, error: ModelError) -> inp.ModelErrored:
        self.failed += 1
        info = ErrorInfo(error.code, error.what, error.where, error.why, error.fix)
        return inp.ModelErrored(
            step, attempt, info, error.retryable, self._clock.random_unit(), error.retry_after_ms
        )

    async def close(self) -> None:
        """Abort every call; each is made again when the server is back."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _request(resident: Resident, step: str, attempt: int) -> ModelRequest | Exception:
    """What the model is asked, or why that cannot be said: the call then ends with it."""
    try:
        return assemble(
            resident.plan, resident.transcript, resident.execution_id, step, attempt, resident.scope.tokens
        )
    except Exception as fault:  # noqa: BLE001 - E10: raised again where the call is made
        return fault


def _or_raise(request: ModelRequest | Exception) -> ModelRequest:
    if isinstance(request, Exception):
        raise request
    return request


def _answers(item: inp.Input, effect: CallModel) -> bool:
    """Whether an input that waits is the outcome of this attempt."""
    if not isinstance(item, inp.ModelSucceeded | inp.ModelErrored | inp.BudgetBreached):
        return False
    return item.step == effect.step and item.attempt == effect.attempt


def _cancelled() -> bool:
    """Whether this task was cancelled, and not just something that it waited for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _adapter_fault(provider: str, fault: BaseException) -> ModelError:
    return ModelError(
        "E0209",
        "The provider's answer could not be understood",
        where=f"provider {provider}",
        why=f"{type(fault).__name__}: {fault}",
        fix="It is tried again; if it stays, report it with the provider and model.",
        retryable=True,
    )
