"""Models that say what a test's script says, behind the engine's port of models.

A script belongs to an agent's name. Each model step of that agent takes the next entry, over all its executions of
the run; an entry that is an error is taken by one attempt, so that the next attempt gets the entry after it. What a step
was given it is given again when it is asked anew after a crash. An entry is:

    "a text"                         an answer
    text(...), call(...), calls(...) an entry of the mock model's script (`perdure.providers.mock_script`)
    ModelError("E0206", ...)         the attempt fails
    a function                       of the request; gives any of these, or a whole `ModelReply`

Instead of a list, a text answers every time and a function is asked every time. The script of a guardrail that a model
judges is under `judge:NAME`, and its entries may be True and False; what sums a long conversation up is under
`condense:NAME`, by the agent's name.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from perdure.core.errors import DefinitionError, ModelError, PerdureError
from perdure.core.model import Delta, ModelRef, ModelReply, ModelRequest
from perdure.core.model_name import parse_model
from perdure.engine.ports import Models
from perdure.providers.mock import complete_mock
from perdure.testing.model import MockModel

Entry: TypeAlias = str | bool | Mapping[str, Any] | ModelError | Callable[[ModelRequest], Any]
Script: TypeAlias = str | Callable[[ModelRequest], Any] | Sequence[Entry]
Scripts: TypeAlias = Script | Mapping[str, Script]

OnDelta = Callable[[Delta], None]
_SCRIPTED = ModelRef("mock", "script")


@dataclass(frozen=True)
class Asked:
    """One request to a model, as it came.

    Attributes:
        speaker: the agent's name, or `judge:NAME`.
        request: what it was asked.
    """

    speaker: str
    request: ModelRequest


class Speakers(Protocol):
    """Who asks: read from the journal of the run."""

    async def speaker(self, execution_id: str, step: str) -> str:
        """The agent of this execution, or `judge:NAME` when the step is a guardrail's question."""

    async def path(self, execution_id: str) -> str:
        """Its place in the tree of the run."""


class RunModels(Models, Protocol):
    """The models of a run; `speakers` is set when it begins."""

    speakers: Speakers | None


def scripts_of(script: Scripts | None, agent: str) -> dict[str, Script]:
    """Scripts by name; one that is given bare is the agent's own.

    Raises:
        DefinitionError: E0106 it is none.
    """
    if script is None:
        return {}
    if isinstance(script, Mapping):
        return {str(name): _checked(str(name), each) for name, each in script.items()}
    return {agent: _checked(agent, script)}


def _checked(name: str, script: Script) -> Script:
    if isinstance(script, str) or callable(script):
        return script
    given: Any = script
    if not isinstance(given, list | tuple) or not all(map(_is_entry, given)):
        raise DefinitionError(
            "E0106",
            f"The script of {name!r} is not one",
            why=f"It is {script!r:.200}.",
            fix="Give a list of texts, entries (text(...), call(...)), ModelErrors and functions; or one text or function.",
        )
    entries: Script = list(script)
    return entries


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, str | bool | Mapping | ModelError) or callable(entry)


class ScriptedModels:
    """`Models` that play scripts. An agent without one is answered by *fallback*.

    Args:
        scripts: by the agent's name.
        fallback: answers for all others.

    Attributes:
        asked: every request, in order.
        watch: told of each request before it is answered.
        took: told by whom, and for which attempt at which step, which entry was taken.
    """

    def __init__(self, scripts: Mapping[str, Script], fallback: Models) -> None:
        self._scripts = dict(scripts)
        self._fallback = fallback
        self._next: dict[str, int] = {}
        self._given: dict[
            tuple[str, str], tuple[int, int]
        ] = {}  # step -> entry, and the attempt that took it
        self.asked: list[Asked] = []
        self.speakers: Speakers | None = None
        self.watch: Callable[[ModelRequest], None] = lambda _: None
        self.took: Callable[[str, ModelRequest, int], None] = lambda *_: None

    def remember(self, speaker: str, execution_id: str, step: str, attempt: int, number: int) -> None:
        """An entry that was taken in a process before this one, as `took` was told."""
        self._next[speaker] = number + 1
        self._given[execution_id, step] = (number, attempt)

    def check(self, model: ModelRef) -> None:
        """Every model can be called: whether there is a script is known when an agent asks."""

    async def aclose(self) -> None:
        """Close what the fallback has open."""
        await self._fallback.aclose()

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        """The script's answer.

        Raises:
            ModelError: the script's own error; E0211 there is no script, it ran out, or an entry is wrong.
        """
        if self.speakers is None:
            raise ModelError("E0211", "The models of a run are not part of one yet")
        self.watch(request)
        speaker = await self.speakers.speaker(request.execution_id, request.step)
        self.asked.append(Asked(speaker, request))
        script = self._scripts.get(speaker)
        if script is None:
            return await self._unscripted(speaker, request, on_delta)
        entry = (
            script if isinstance(script, str) or callable(script) else self._entry(speaker, script, request)
        )
        return await self._answer(entry, request, on_delta, speaker)

    async def _unscripted(self, speaker: str, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        try:
            self._fallback.check(request.model)
        except PerdureError as error:
            raise ModelError(
                "E0211",
                f"There is no script for {speaker!r}, and its model {request.model} cannot be called",
                why=error.what,
                fix=f"Give it one: script={{{speaker!r}: [...]}}, or a MockModel as its model.",
            ) from error
        return await self._fallback.complete(request, on_delta)

    def _entry(self, speaker: str, script: Sequence[Entry], request: ModelRequest) -> Entry:
        key = (request.execution_id, request.step)
        given = self._given.get(key)
        is_error = given is not None and isinstance(script[given[0]], ModelError)
        if given is None or (is_error and request.attempt > given[1]):
            number = self._next.get(speaker, 0)
            if number >= len(script):
                raise ModelError(
                    "E0211",
                    f"The script of {speaker!r} has {len(script)} entries and was asked for one more",
                    where=f"execution {request.execution_id}, step {request.step}",
                    why=f"The last message was: {_last_words(request)!r:.300}",
                    fix="Add an entry, or give a function or a single text, which answer every time.",
                )
            self._next[speaker] = number + 1
            given = self._given[key] = (number, request.attempt)
            self.took(speaker, request, number)
        return script[given[0]]

    async def _answer(self, entry: Any, request: ModelRequest, on_delta: OnDelta, speaker: str) -> ModelReply:
        if callable(entry) and not isinstance(entry, type):
            try:
                entry = entry(request)
                entry = await entry if isinstance(entry, Awaitable) else entry
            except PerdureError:
                raise
            except Exception as error:
                raise ModelError(
                    "E0211",
                    f"The script's function for {speaker!r} raised {type(error).__name__}",
                    where=f"step {request.step}",
                    why=str(error),
                ) from error
        if isinstance(entry, ModelError):
            raise entry
        if isinstance(entry, ModelReply):
            return entry
        if isinstance(entry, bool):
            entry = {"json": {"passed": entry, "reason": "the script says so"}}
        played = {"text": entry} if isinstance(entry, str) else entry
        extra = {"script": [played], "repeat_last": True}
        settings = msgspec.structs.replace(request.settings, extra=extra)
        return await complete_mock(
            msgspec.structs.replace(request, model=_SCRIPTED, settings=settings), on_delta
        )


class OneModel:
    """`Models` that call one model for all.

    Args:
        models: all providers.
        model: `provider/model`, or an object that stands for one.
    """

    def __init__(self, models: Models, model: str | MockModel) -> None:
        self._models = models
        self._ref = parse_model(model if isinstance(model, str) else model.model, None)
        self._settings = None if isinstance(model, str) else dict(model.settings)

    def check(self, model: ModelRef) -> None:  # noqa: ARG002 - the port's
        """Whether the one model can be called."""
        self._models.check(self._ref)

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        """Ask the one model."""
        settings = request.settings
        if self._settings is not None:
            settings = msgspec.structs.replace(settings, extra=self._settings)
        return await self._models.complete(
            msgspec.structs.replace(request, model=self._ref, settings=settings), on_delta
        )

    async def aclose(self) -> None:
        """Close connections."""
        await self._models.aclose()


def _last_words(request: ModelRequest) -> str:
    return request.messages[-1].text if request.messages else ""
