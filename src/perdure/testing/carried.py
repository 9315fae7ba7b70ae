"""What a test hands to a process of its own: plain JSON data as it is, anything else by where it can be imported from."""

import importlib
import sys
from types import ModuleType
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.core.errors import DefinitionError

_FIX = "Make it an attribute of a module that can be imported, or name it: 'module:attribute'."


class Carried(msgspec.Struct, frozen=True):
    """A value that another process can have.

    Attributes:
        value: plain data.
        path: `module:attribute` instead of it.
    """

    value: Any = None
    path: str | None = None

    def get(self) -> Any:
        """The value, in whatever process.

        Raises:
            DefinitionError: E0106 it cannot be imported.
        """
        return self.value if self.path is None else load(self.path)


def carry(value: Any, what: str) -> Carried:
    """*value*, made ready for another process; *what* says to people what it is.

    Raises:
        DefinitionError: E0106 it is neither plain data nor an attribute of a module.
    """
    return Carried(value) if _is_plain(value) else Carried(path=import_path(value, what))


def _is_plain(value: Any) -> bool:
    """Whether JSON gives the same value back; an object that JSON would only flatten is not plain."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in {bool, int, float, str}


def import_path(value: Any, what: str) -> str:
    """The `module:attribute` under which *value* itself is found.

    Raises:
        DefinitionError: E0106 under none.
    """
    for name, module in sorted(sys.modules.items()):
        # The child's `__main__` is another program.
        if name == "__main__" or not isinstance(module, ModuleType):
            continue
        for attribute, found in list(vars(module).items()):
            if found is value:
                return f"{name}:{attribute}"
    raise DefinitionError(
        "E0106",
        f"{what} cannot reach another process",
        why="It is no plain data, and no module that a child process can import has it as an attribute.",
        fix=_FIX,
    )


def load(path: str) -> Any:
    """What `module:attribute` names.

    Raises:
        DefinitionError: E0106 it names nothing, or its import fails.
    """
    name, _, attribute = path.partition(":")
    if not name or not attribute:
        raise DefinitionError("E0106", f"{path!r} is no import path", fix="Write it like 'module:attribute'.")
    try:
        value = importlib.import_module(name)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:
        raise DefinitionError(
            "E0106", f"{path!r} cannot be imported", why=f"{type(error).__name__}: {error}", fix=_FIX
        ) from error
    return value


def load_agent(path: str) -> Agent:
    """The agent that `module:attribute` names, or that the function makes that it names.

    Raises:
        DefinitionError: E0106 it names none.
    """
    value = load(path)
    if not isinstance(value, Agent) and callable(value):
        value = value()
    if not isinstance(value, Agent):
        raise DefinitionError(
            "E0106",
            f"{path!r} is no agent",
            why=f"It is {value!r:.200}.",
            fix="Name an Agent, or a function without arguments that makes one.",
        )
    return value
