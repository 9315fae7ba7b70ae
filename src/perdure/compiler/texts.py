"""All texts of a JSON value, keys included: nothing that cannot be stored gets past this point.

The walk keeps its own list of what is to come, so that a value nested a million times over ends in an error and not
in a stack overflow.
"""

from typing import Any

from perdure.agents.values import Path, check_text, path_text
from perdure.core.errors import DefinitionError

MAX_DEPTH = 100


def check_texts(value: Any, where: str, root: str = "$") -> None:
    """Refuse lone surrogates and too deep nesting anywhere in a JSON value.

    Raises:
        ApiError: E0611 some text or key has lone surrogates; the error has its path.
        DefinitionError: E0101 more than `MAX_DEPTH` levels.
    """
    todo: list[tuple[Path, Any]] = [((), value)]
    while todo:
        path, item = todo.pop()
        if isinstance(item, str):
            check_text(item, f"{where}, at {path_text(path, root)}")
            continue
        if not isinstance(item, dict | list | tuple):
            continue
        if len(path) >= MAX_DEPTH:
            raise DefinitionError(
                "E0101",
                f"The definition is nested over {MAX_DEPTH} levels",
                where=f"{where}, at {path_text(path[:10], root)}",
            )
        if isinstance(item, dict):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise DefinitionError(
                        "E0101",
                        f"The key {key!r:.80} of the definition is not a text",
                        where=f"{where}, at {path_text(path, root)}",
                    )
                check_text(key, f"{where}, at a key of {path_text(path, root)}")
                todo.append(((*path, key), inner))
        else:
            todo.extend(((*path, index), inner) for index, inner in enumerate(item))
