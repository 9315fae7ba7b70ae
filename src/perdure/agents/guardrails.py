"""Guardrails: checks on what goes into an agent or a tool, or comes out of it.

    @guardrail(on_fail=OnFail.FIX)
    def no_numbers(text: str) -> GuardrailResult:
        return GuardrailResult(not any(map(str.isdigit, text)), "It has digits.", re.sub(r"[0-9]", "#", text))

    Agent(..., guardrails=[no_numbers, RegexGuardrail([r"(?i)password"], name="no_passwords")])

The server asks for every check, whoever started the execution, and records its outcome. A check that errors has not
passed.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from perdure.agents.checks import (
    MAX_COUNT,
    MAX_RETRIES,
    check_choice,
    check_name,
    check_number,
    invalid_option,
)
from perdure.agents.signatures import place_of
from perdure.agents.termination import some_text
from perdure.core.definition import GuardrailDefinition
from perdure.core.errors import DefinitionError
from perdure.core.model_name import parse_model

MAX_PATTERNS = 100


class Position(enum.StrEnum):
    """What is checked: what goes in, or what comes out."""

    INPUT = "input"
    OUTPUT = "output"


class OnFail(enum.StrEnum):
    """What happens when a check does not pass.

    * `RETRY`: the model is told why, and tries again, `max_retries` times.
    * `RAISE`: the execution fails.
    * `FIX`: the check's own text takes the place.
    * `HUMAN`: a person decides.
    """

    RETRY = "retry"
    RAISE = "raise"
    FIX = "fix"
    HUMAN = "human"


@dataclass(frozen=True)
class GuardrailResult:
    """What a check found.

    Attributes:
        passed: whether all is well.
        message: otherwise why not, for the model or the caller.
        fixed_output: what should stand in its place, for `OnFail.FIX`.
    """

    passed: bool
    message: str = ""
    fixed_output: Any = None


class Guardrail:
    """A check by a function of yours, on a worker; or by one that a worker elsewhere has.

    Args:
        func: is given the content (and a `ToolContext`, if it takes one); returns a `GuardrailResult` or a bool.
            None: a worker elsewhere has the function of this `name`.
        position: `input` or `output`, of the agent or the tool that has the guardrail.
        on_fail: `retry`, `raise`, `fix` or `human`.
        name: the function's own name by default.
        max_retries: how often `retry` is done before it counts as `raise`.

    Raises:
        DefinitionError: E0101 neither a function nor a name; E0104 the name; E0106 an option.
    """

    func: Callable[..., Any] | None

    def __init__(
        self,
        func: "Callable[..., Any] | Guardrail | None" = None,
        position: Position | str = Position.OUTPUT,
        on_fail: OnFail | str = OnFail.RETRY,
        name: str | None = None,
        max_retries: int = 3,
    ) -> None:
        if isinstance(func, Guardrail):
            name, func = name or func.name, func.func
        if func is None and name is None:
            raise DefinitionError(
                "E0101",
                "A guardrail needs a function or a name",
                where="guardrail",
                fix='Give the function, or the name of one that a worker elsewhere has: Guardrail(name="no_pii").',
            )
        if func is not None and not callable(func):
            raise invalid_option("func", func, "a function", "guardrail")
        self.func = func
        own = getattr(func, "__name__", "")
        self._set(own if name is None else name, position, on_fail, max_retries)
        if func is not None:
            self.where = f"guardrail {self.name!r} ({place_of(func)})"
            self.__doc__ = func.__doc__

    def _set(self, name: str, position: Position | str, on_fail: OnFail | str, max_retries: int) -> None:
        self.name = check_name(name, "guardrail", "guardrail")
        self.where = f"guardrail {self.name!r}"
        check_choice("position", position, tuple(Position), self.where)
        check_choice("on_fail", on_fail, tuple(OnFail), self.where)
        check_number("max_retries", max_retries, 1, MAX_RETRIES, where=self.where)
        self.position = Position(position)
        self.on_fail = OnFail(on_fail)
        self.max_retries = max_retries

    @property
    def external(self) -> bool:
        """Whether a worker elsewhere has the function."""
        return self.func is None

    def definition(self) -> GuardrailDefinition:
        """The guardrail as data."""
        return GuardrailDefinition(
            name=self.name,
            kind="external" if self.external else "function",
            position=self.position.value,
            on_fail=self.on_fail.value,
            max_retries=self.max_retries,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, as if it had never been decorated.

        Raises:
            TypeError: it is not in this process.
        """
        if self.func is None:
            raise TypeError(f"the function of the guardrail {self.name!r} is not in this process")
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        shown = f"{self.name!r}, position={self.position.value!r}, on_fail={self.on_fail.value!r}"
        return f"{type(self).__name__}({shown})"


class RegexGuardrail(Guardrail):
    """A check by patterns, in the server; no worker is asked.

    Args:
        patterns: one or more, in RE2 syntax (no look-around and no back-references: time is linear).
        mode: `block`: fails when one is found; `allow`: fails when none is.
        position: see `Guardrail`.
        on_fail: see `Guardrail`; `fix` redacts what was found, and in mode `allow` puts *message* in the place.
        name: of the guardrail.
        message: what the model or the caller is told.
        max_retries: see `Guardrail`.

    Raises:
        DefinitionError: E0104 the name; E0106 an option. That the patterns are RE2 is checked by the server (E0101).
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        *,
        mode: str = "block",
        position: Position | str = Position.OUTPUT,
        on_fail: OnFail | str = OnFail.RETRY,
        name: str = "regex_guardrail",
        message: str | None = None,
        max_retries: int = 3,
    ) -> None:
        self.func = None
        self._set(name, position, on_fail, max_retries)
        given: Any = [patterns] if isinstance(patterns, str) else patterns
        if not isinstance(given, Sequence) or not 1 <= len(given) <= MAX_PATTERNS:
            raise invalid_option("patterns", patterns, f"1 to {MAX_PATTERNS} patterns", self.where)
        self.patterns = tuple(some_text("patterns", p, self.where) for p in given)
        check_choice("mode", mode, ("block", "allow"), self.where)
        self.mode = mode
        self.message = "" if message is None else some_text("message", message, self.where)
        if self.on_fail is OnFail.FIX and mode == "allow" and not self.message:
            raise invalid_option("message", message, "the text that takes the place, for `fix`", self.where)

    @property
    def external(self) -> bool:
        """False: the server does it."""
        return False

    def definition(self) -> GuardrailDefinition:
        """The guardrail as data."""
        return GuardrailDefinition(
            name=self.name,
            kind="regex",
            position=self.position.value,
            on_fail=self.on_fail.value,
            max_retries=self.max_retries,
            patterns=self.patterns,
            mode="allow" if self.mode == "allow" else "block",
            message=self.message,
        )


class LLMGuardrail(Guardrail):
    """A check by a model, which the server asks.

    Args:
        model: `provider/model`.
        policy: what is allowed and what is not, in words.
        position: see `Guardrail`.
        on_fail: see `Guardrail`.
        name: of the guardrail.
        max_retries: see `Guardrail`.
        max_tokens: limit of the model's answer.
        base_url: another address of the provider's server.

    Raises:
        DefinitionError: E0104 the name; E0106 an option; E0107 the model.
    """

    def __init__(
        self,
        model: str,
        policy: str,
        *,
        position: Position | str = Position.OUTPUT,
        on_fail: OnFail | str = OnFail.RETRY,
        name: str = "llm_guardrail",
        max_retries: int = 3,
        max_tokens: int | None = None,
        base_url: str | None = None,
    ) -> None:
        self.func = None
        self._set(name, position, on_fail, max_retries)
        parse_model(some_text("model", model, self.where), base_url)
        self.model = model
        self.base_url = base_url
        self.policy = some_text("policy", policy, self.where)
        if max_tokens is not None:
            check_number("max_tokens", max_tokens, 1, MAX_COUNT, where=self.where)
        self.max_tokens = max_tokens

    @property
    def external(self) -> bool:
        """False: the server does it."""
        return False

    def definition(self) -> GuardrailDefinition:
        """The guardrail as data."""
        return GuardrailDefinition(
            name=self.name,
            kind="llm",
            position=self.position.value,
            on_fail=self.on_fail.value,
            max_retries=self.max_retries,
            model=self.model,
            base_url=self.base_url,
            policy=self.policy,
            max_tokens=self.max_tokens,
        )


@overload
def guardrail(func: Callable[..., Any], /) -> Guardrail: ...


@overload
def guardrail(
    func: None = None,
    /,
    *,
    name: str | None = ...,
    position: Position | str = ...,
    on_fail: OnFail | str = ...,
    max_retries: int = ...,
) -> Callable[[Callable[..., Any]], Guardrail]: ...


def guardrail(
    func: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    position: Position | str = Position.OUTPUT,
    on_fail: OnFail | str = OnFail.RETRY,
    max_retries: int = 3,
) -> Guardrail | Callable[[Callable[..., Any]], Guardrail]:
    """Make a guardrail of a function: `@guardrail`, or `@guardrail(on_fail="raise")`.

    What it makes can be given to `Guardrail(...)` again, for another position or `on_fail`, and can be called.

    Raises:
        DefinitionError: as `Guardrail`.
    """

    def decorate(function: Callable[..., Any]) -> Guardrail:
        return Guardrail(function, position, on_fail, name, max_retries)

    return decorate if func is None else decorate(func)


def checked_guardrails(given: Any, where: str) -> tuple[Guardrail, ...]:
    """The guardrails of an agent or a tool.

    Raises:
        DefinitionError: E0101 something is not one; E0103 two functions have one name.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise invalid_option("guardrails", given, "a list of guardrails", where)
    for item in given:
        if not isinstance(item, Guardrail):
            raise DefinitionError(
                "E0101",
                f"{getattr(item, '__name__', item)!r:.80} is not a guardrail",
                where=where,
                fix="Put @guardrail above the function." if callable(item) else "Give guardrails.",
            )
    guard_functions(given, where)
    return tuple(given)


def guard_functions(guardrails: Sequence[Guardrail], where: str) -> Mapping[str, Callable[..., Any]]:
    """The functions among the guardrails of one agent and its tools, by name.

    Raises:
        DefinitionError: E0103 two functions have one name, so that a worker could not tell them apart.
    """
    found: dict[str, Callable[..., Any]] = {}
    for item in guardrails:
        if item.func is None:
            continue
        if found.setdefault(item.name, item.func) != item.func:
            raise DefinitionError(
                "E0103",
                f"Two guardrails have the name {item.name!r}",
                where=where,
                fix='Give one of them another: Guardrail(func, name="...").',
            )
    return found
