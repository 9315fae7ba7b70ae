"""Reading a definition: the version first, then the fields.

A definition from a newer version has fields that this one does not know. Saying "unknown field" would send its
author looking for a typing error, so the version is looked at before anything else (E0102). A field that is unknown
in a version that is known is an error (E0101), never ignored: what is dropped in silence may be a safeguard.
"""

import difflib
import re
from typing import Any

import msgspec

from perdure.compiler.texts import check_texts
from perdure.core.definition import (
    DEFINITION_VERSION,
    AgentDefinition,
    BudgetDefinition,
    GuardrailDefinition,
    MemoryDefinition,
    OutputDefinition,
    PrefilledCall,
    RetryPolicy,
    ToolDefinition,
)
from perdure.core.errors import ApiError, DefinitionError

WHERE = "definition"
_SHAPES: dict[str, type[msgspec.Struct]] = {
    "$": AgentDefinition,
    "$.tools[]": ToolDefinition,
    "$.tools[].retry": RetryPolicy,
    "$.tools[].guardrails[]": GuardrailDefinition,
    "$.output": OutputDefinition,
    "$.guardrails[]": GuardrailDefinition,
    "$.memory": MemoryDefinition,
    "$.budget": BudgetDefinition,
    "$.prefill[]": PrefilledCall,
}
# An agent inside an agent is as one outside.
_NESTED = re.compile(r"\$(?:\.agents\[\]|\.router|\.planner|\.fallback|\.tools\[\]\.agent)+(?=$|\.)")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_AT = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?", re.DOTALL)
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def decode_definition(raw: bytes | str | dict[str, Any]) -> AgentDefinition:
    """The definition of a JSON text, or of the object that one holds.

    Raises:
        DefinitionError: E0101 not JSON, or a field that is unknown, missing or of the wrong type (the error has its
            path); E0102 written by a newer version.
        ApiError: E0611 some text has lone surrogates.
    """
    document = raw if isinstance(raw, dict) else _parse(raw)
    if not isinstance(document, dict):
        raise _invalid(f"A definition is a JSON object, and this is a {type(document).__name__}")
    _check_version(document.get("v", DEFINITION_VERSION))
    check_texts(document, WHERE)
    try:
        return msgspec.convert(document, AgentDefinition)
    except msgspec.ValidationError as error:
        raise _explained(str(error)) from error


def _parse(raw: bytes | str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        data = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
        try:
            data.decode()
        except UnicodeDecodeError:
            raise _not_text() from error
        if _LONE_SURROGATE.search(data):
            raise _not_text() from error
        raise _invalid("The definition is not JSON", why=str(error)) from error


def _not_text() -> ApiError:
    return ApiError(
        "E0611",
        "The definition has characters that no UTF-8 text can hold",
        where=WHERE,
        fix="Encode it as UTF-8, with surrogates in pairs only.",
    )


def _check_version(version: Any) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _invalid(f"The version {version!r:.80} of the definition is not one", where=f"{WHERE}, at $.v")
    if version > DEFINITION_VERSION:
        raise DefinitionError(
            "E0102",
            f"The definition has version {version}; this server reads versions up to {DEFINITION_VERSION}",
            where=f"{WHERE}, at $.v",
            fix="Update the server, or use an SDK of the server's version.",
        )


def _explained(message: str) -> DefinitionError:
    """The error of a `msgspec.ValidationError`, with the path, and the field that was probably meant."""
    found = _AT.fullmatch(message)
    what, path = (found["what"], found["path"] or "$") if found else (message, "$")
    unknown = _UNKNOWN_FIELD.fullmatch(what)
    fix = ""
    if unknown:
        shape = _SHAPES.get(_NESTED.sub("$", re.sub(r"\[\d*\]|\[\.\.\.\]", "[]", path)))
        known = list(shape.__struct_fields__) if shape else []
        near = difflib.get_close_matches(unknown["field"], known, n=1, cutoff=0.6)
        fix = f"Did you mean {near[0]!r}?" if near else f"Known fields: {', '.join(known)}."
        what = f"There is no field {unknown['field']!r:.80}"
    return _invalid(what, where=f"{WHERE}, at {path}", fix=fix)


def _invalid(what: str, *, where: str = WHERE, why: str = "", fix: str = "") -> DefinitionError:
    return DefinitionError("E0101", what, where=where, why=why, fix=fix)
