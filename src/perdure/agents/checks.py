"""What names and numbers may be: the same rules where an agent is written and where its definition arrives.

The SDK checks them so that the error points at the user's own line; the compiler checks them again, because a
definition may come from any client.
"""

import re
from typing import Any

from perdure.core.errors import DefinitionError

MAX_NAME_LENGTH = 64  # what every provider takes as the name of a tool
MAX_COUNT = 2**31
MAX_RETRIES = 99
MAX_SECONDS = 366 * 86_400
MAX_TEMPERATURE = 2
MAX_TURNS = 10_000
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]*")


def check_name(name: Any, kind: str, where: str = "") -> str:
    """The name of an agent or a tool, as it is.

    Args:
        name: what was given.
        kind: `agent`, `tool` or `output type`, for the error.
        where: what the name belongs to, for the error.

    Raises:
        DefinitionError: E0104 it is not a text of letters, digits, `_` and `-`, or it is too long.
    """
    if isinstance(name, str) and len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name):
        return name
    raise DefinitionError(
        "E0104",
        f"{name!r:.80} cannot be the name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}",
        where=where,
        fix=f"Use letters, digits, _ and -, not beginning with a digit, {MAX_NAME_LENGTH} characters at most.",
    )


def check_number(
    name: str, value: Any, low: float, high: float, *, whole: bool = True, where: str = ""
) -> None:
    """Refuse an option that is not a number from *low* to *high*, or not a whole one when *whole*.

    Raises:
        DefinitionError: E0106.
    """
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if fits and low <= value <= high:
        return
    number = "a whole number" if whole else "a number"
    raise invalid_option(name, value, f"{number} from {low:,} to {high:,}", where)


def check_choice(name: str, value: Any, choices: tuple[str, ...], where: str = "") -> None:
    """Refuse an option that is not one of *choices*.

    Raises:
        DefinitionError: E0106.
    """
    if value not in choices:
        raise invalid_option(name, value, f"one of {', '.join(choices)}", where)


def invalid_option(name: str, value: Any, allowed: str, where: str = "") -> DefinitionError:
    """The error E0106 that says what the option may be."""
    return DefinitionError(
        "E0106",
        f"{name} is {value!r:.200}, which it cannot be",
        where=where,
        fix=f"Give {allowed}.",
    )
