"""JSON Schema checks of tool arguments and answers. Pure: no schema is ever fetched.

Validators are kept by the identity of the schema object: plans are cached by hash, so each schema of a running
agent is compiled once.
"""

from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from referencing import Registry

_LIMIT = 256
_cache: dict[int, tuple[dict[str, Any], Draft202012Validator]] = {}
_NO_REMOTE: Registry[Any] = Registry()
_MAX_PROBLEMS = 10


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    entry = _cache.get(id(schema))
    if entry is None or entry[0] is not schema:
        if len(_cache) >= _LIMIT:
            _cache.clear()
        entry = _cache[id(schema)] = (schema, Draft202012Validator(schema, registry=_NO_REMOTE))
    return entry[1]


def problems(schema: dict[str, Any], value: Any) -> tuple[str, ...]:
    """What is wrong with *value*, one sentence each; empty when it fits. At most ten."""
    if not schema:
        return ()
    found = []
    for error in _validator(schema).iter_errors(value):
        where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path).lstrip(".")
        found.append(f"{where}: {error.message}"[:500] if where else error.message[:500])
        if len(found) >= _MAX_PROBLEMS:
            break
    return tuple(found)


def parse_answer(text: str) -> tuple[Any, str | None]:
    """The JSON value of a model's text, with or without a code fence, and what is wrong when there is none."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        # By hand: a pattern for a fence with free white space backtracks without bound on a hostile text.
        _language, _newline, fenced = body.removesuffix("```").partition("\n")
        body = fenced.strip()
    if not body:
        return None, "the answer is empty"
    try:
        return msgspec.json.decode(body), None
    except msgspec.DecodeError as error:
        return None, f"the answer is not JSON: {error}"
