"""Calls of users' functions that are no tools: routers, gates, checks, callbacks.

Such a function is given Python values by place, as many of them as it takes, and the `ToolContext` wherever it asks
for it. This package never awaits, so nothing here calls the function: a `Call` says what is to be called, and a worker
does it.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from perdure.agents.context import ToolContext
from perdure.agents.signatures import MISSING, place_of, read_hints
from perdure.core.errors import DefinitionError

_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Call(NamedTuple):
    """A call to make: `func(*args, **kwargs)`. The function may be plain or a coroutine function."""

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class Callee:
    """A function and what it takes.

    Attributes:
        func: the function.
        where: what it is for and where it is written, for errors.
        context: the keyword of the parameter that takes the `ToolContext`, if there is one.
        places: names of the parameters that are filled by place, the context's left out.
        needed: how many of them have no default.
        takes_all: it has `*args`.
        keywords: names that may be given by keyword; None: any.
        first_hint: type of the first parameter that is filled by place; `MISSING`: not known.
    """

    func: Callable[..., Any]
    where: str
    context: str | None
    places: tuple[inspect.Parameter, ...]
    needed: int
    takes_all: bool
    keywords: frozenset[str] | None
    first_hint: Any

    @classmethod
    def read(cls, func: Any, what: str, where: str, *, most: int | None = None) -> "Callee":
        """What a function takes.

        Args:
            func: the function.
            what: what it is for, in an error: `router`.
            where: whose it is, for errors.
            most: how many values it will be given by place; None: they are given by keyword.

        Raises:
            DefinitionError: E0101 it cannot be called with so many.
        """
        place = place_of(func)
        where = f"{where}, {what} ({place})" if place else f"{where}, {what}"
        if not callable(func) or inspect.isclass(func):
            raise DefinitionError("E0101", f"The {what} is not a function", where=where)
        context, hints = None, []
        takes_all, takes_any = False, False
        keywords: set[str] = set()
        for raw, hint in read_hints(func):
            takes_all |= raw.kind is inspect.Parameter.VAR_POSITIONAL
            takes_any |= raw.kind is inspect.Parameter.VAR_KEYWORD
            if hint is ToolContext and raw.kind is not inspect.Parameter.POSITIONAL_ONLY:
                context = context or raw.name
            elif raw.kind in _BY_PLACE:
                hints.append((raw, hint))
            if raw.kind in {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
                keywords.add(raw.name)
        needed = sum(raw.default is MISSING for raw, _ in hints)
        if most is not None and needed > most:
            raise DefinitionError(
                "E0101",
                f"The {what} takes {needed} arguments; it is given {most} at most",
                where=where,
                fix="Give the further parameters defaults, or annotate the one that takes the ToolContext.",
            )
        return cls(
            func,
            where,
            context,
            tuple(raw for raw, _ in hints),
            needed,
            takes_all,
            None if takes_any else frozenset(keywords),
            hints[0][1] if hints else MISSING,
        )

    def call(self, context: ToolContext, *values: Any) -> Call:
        """The call with as many of the values as it takes, and the context."""
        kwargs = {} if self.context is None else {self.context: context}
        given = values if self.takes_all else values[: len(self.places)]
        by_name = all(raw.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for raw in self.places)
        if by_name and not self.takes_all:  # the context may stand before or between them
            return Call(self.func, (), kwargs | {r.name: v for r, v in zip(self.places, given, strict=False)})
        return Call(self.func, tuple(given), kwargs)

    def call_named(self, context: ToolContext, values: Mapping[str, Any]) -> Call:
        """The call with those of the values that it has names for, and the context."""
        kwargs = {k: v for k, v in values.items() if self.keywords is None or k in self.keywords}
        if self.context is not None:
            kwargs[self.context] = context
        return Call(self.func, (), kwargs)
