"""Docstrings of tools: what the tool does, and what each parameter means.

Google, NumPy and Sphinx styles are told apart by their section headers, which do not overlap. What stands before
the first section about parameters, results or errors is the description that the model reads; the rest is for
people who read the source.
"""

import inspect
import re
from dataclasses import dataclass, field

_PARAMETERS = frozenset(
    {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"}
)
_OTHERS = frozenset({"returns", "return", "raises", "yields", "yield", "warns", "receives"})
_GOOGLE = re.compile(r"(?P<title>[A-Za-z][A-Za-z ]*):\s*")
_GOOGLE_ITEM = re.compile(r"[*`]*(?P<name>\w+)`*\s*(?:\((?P<type>.*?)\))?\s*:(?:\s+(?P<text>.*)|$)")
_NUMPY_ITEM = re.compile(r"[*`]*(?P<names>\w+(?:\s*,\s*[*`]*\w+)*)`*\s*(?::.*)?")
_SPHINX = re.compile(
    r":(?P<kind>param|parameter|arg|argument|key|keyword|type|return|returns|rtype|raise|raises|yield|yields)"
    r"(?P<rest>(?:\s+[^:]*)?):\s*(?P<text>.*)"
)
_SPHINX_PARAMETERS = frozenset({"param", "parameter", "arg", "argument", "key", "keyword"})


@dataclass(frozen=True)
class Docstring:
    """The text before the sections, and the description of each parameter by name."""

    body: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def parse_docstring(text: str | None) -> Docstring:
    """The body and the parameters of a docstring of any of the three styles; nothing for None."""
    if not text:
        return Docstring()
    lines = inspect.cleandoc(text).splitlines()
    body: list[str] = []
    parameters: dict[str, str] = {}
    in_body = True
    position = 0
    while position < len(lines):
        section = _section_at(lines, position)
        if section is None:
            if in_body:
                body.append(lines[position])
            position += 1
            continue
        in_body = False
        found, position = section
        parameters |= found
    return Docstring("\n".join(body).strip(), parameters)


def _section_at(lines: list[str], position: int) -> tuple[dict[str, str], int] | None:
    """The parameters of the section that begins here, and where it ends; None: no section begins here."""
    line = lines[position]
    if sphinx := _SPHINX.fullmatch(line.strip()):
        return _sphinx_field(sphinx, lines, position)
    below = lines[position + 1].strip() if position + 1 < len(lines) else ""
    title = line.strip().lower()
    if _is_underline(below) and title in _PARAMETERS | _OTHERS:
        return _numpy_section(title, lines, position + 2)
    if google := _GOOGLE.fullmatch(line):
        return _google_section(google["title"].lower(), lines, position + 1)
    return None


def _is_underline(line: str) -> bool:
    return len(line) > 2 and set(line) == {"-"}  # noqa: PLR2004 - shorter ones are list items


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(parts: list[str]) -> str:
    return " ".join(part.strip() for part in parts if part.strip())


def _block_end(lines: list[str], start: int) -> int:
    """Where the indented block that begins at *start* ends."""
    end = start
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > 0):
        end += 1
    return end


def _google_section(title: str, lines: list[str], start: int) -> tuple[dict[str, str], int] | None:
    if title in _OTHERS:
        return {}, _block_end(lines, start)
    if title not in _PARAMETERS:
        return None
    end = _block_end(lines, start)
    block = [line for line in lines[start:end] if line.strip()]
    first = _indent(block[0]) if block else 0
    found: dict[str, list[str]] = {}
    name = ""
    for line in block:
        item = _GOOGLE_ITEM.fullmatch(line.strip()) if _indent(line) <= first else None
        if item:
            name = item["name"]
            found[name] = [item["text"] or ""]
        elif name:
            found[name].append(line)
    return {key: _joined(parts) for key, parts in found.items()}, end


def _numpy_section(title: str, lines: list[str], start: int) -> tuple[dict[str, str], int]:
    end = start
    found: dict[str, list[str]] = {}
    names: list[str] = []
    while end < len(lines):
        line = lines[end]
        following = lines[end + 1].strip() if end + 1 < len(lines) else ""
        if line.strip() and _is_underline(following):
            break
        if line.strip() and _indent(line) == 0:
            item = _NUMPY_ITEM.fullmatch(line.strip())
            names = re.findall(r"\w+", item["names"]) if item else []
            found |= {name: [] for name in names}
        else:
            for name in names:
                found[name].append(line)
        end += 1
    if title not in _PARAMETERS:
        return {}, end
    return {key: _joined(parts) for key, parts in found.items()}, end


def _sphinx_field(match: re.Match[str], lines: list[str], position: int) -> tuple[dict[str, str], int]:
    own = _indent(lines[position])
    end = position + 1
    while end < len(lines) and lines[end].strip() and _indent(lines[end]) > own:
        end += 1
    words = match["rest"].split()
    if match["kind"] not in _SPHINX_PARAMETERS or not words:
        return {}, end
    return {words[-1].lstrip("*\\"): _joined([match["text"], *lines[position + 1 : end]])}, end
