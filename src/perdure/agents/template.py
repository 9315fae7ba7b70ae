"""Texts with places to fill in."""

import re
from collections.abc import Mapping
from typing import Any

from perdure.agents.checks import invalid_option
from perdure.agents.values import check_text
from perdure.core.errors import DefinitionError

_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")


class PromptTemplate:
    """A text with `{{name}}` in it, and what goes there. Single braces are text.

    It is checked when it is made, so that a typing error is not found by a model.

    Args:
        text: the text.
        variables: a text, number or bool for each name in it.

    Raises:
        DefinitionError: E0101 a name without a value, or a value without a name; E0106 a value of another kind.
    """

    def __init__(self, text: str, variables: Mapping[str, Any] | None = None) -> None:
        if not isinstance(text, str):
            raise invalid_option("text", text, "a text", "prompt template")
        check_text(text, "prompt template")
        self.text = text
        self.variables = dict(variables or {})
        for name, value in self.variables.items():
            if not isinstance(value, str | int | float):
                raise invalid_option(f"variables[{name!r}]", value, "a text or a number", "prompt template")
            check_text(str(value), f"prompt template, variable {name!r}")
        names = set(_PLACE.findall(text))
        if missing := sorted(names - set(self.variables)):
            raise _mismatch(f"No value is given for {', '.join(missing)}")
        if unknown := sorted(map(str, set(self.variables) - names)):
            raise _mismatch(f"The text has no place for {', '.join(unknown)}")

    def render(self) -> str:
        """The text with the values in it. A value that looks like a place stays as it is."""
        return _PLACE.sub(lambda found: str(self.variables[found[1]]), self.text)

    def __repr__(self) -> str:
        return f"PromptTemplate({self.text!r:.60}, {self.variables!r:.60})"


def _mismatch(what: str) -> DefinitionError:
    return DefinitionError(
        "E0101",
        what,
        where="prompt template",
        fix='Name each {{place}} of the text once: PromptTemplate("Hello {{name}}", {"name": "Ada"}).',
    )
