"""Agents by reference: `module:attribute` or `path/to/file.py:attribute`, as they stand in the user's own code.

Without `:attribute` the module must hold exactly one agent. Importing runs the user's module; whatever it raises
is told as E0706, with the line it happened on.
"""

import difflib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from perdure.agents.agent import Agent
from perdure.core.errors import ClientError, PerdureError

_FIX = "Write module:attribute or path/to/file.py:attribute, e.g. agent.py:agent."


def is_reference(typed: str) -> bool:
    """Whether this names code, and not a deployed agent: agent names hold neither a colon nor a dot."""
    return ":" in typed or typed.endswith(".py") or "/" in typed


def source_of(typed: str) -> Path:
    """The file that the reference points to; the module is found but not run.

    Raises:
        ClientError: E0706 there is no such file or module.
    """
    module, _, _ = _parts(typed)
    if module.endswith(".py"):
        path = Path(module).resolve()
        if not path.is_file():
            raise _bad(typed, f"There is no file {module}")
        return path
    _see_here()
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise _bad(typed, str(error)) from error
    if spec is None or spec.origin is None:
        raise _bad(typed, f"There is no module {module}")
    return Path(spec.origin)


def load_agent(typed: str) -> Agent:
    """The agent of this reference.

    Raises:
        ClientError: E0706 the module cannot be imported, or holds no such agent.
    """
    module_name, _, attribute = _parts(typed)
    path = source_of(typed)
    module = _import(typed, module_name, path)
    agents = {name: value for name, value in vars(module).items() if isinstance(value, Agent)}
    if not attribute:
        if len({id(a) for a in agents.values()}) == 1:
            return next(iter(agents.values()))
        names = ", ".join(agents) or "none"
        raise _bad(typed, f"{path.name} holds {len(agents)} agents ({names}); say which one")
    found = getattr(module, attribute, None)
    if isinstance(found, Agent):
        return found
    if found is not None:
        raise _bad(typed, f"{attribute} is a {type(found).__name__}, not an Agent")
    near = difflib.get_close_matches(attribute, agents or vars(module), n=1)
    raise _bad(typed, f"{path.name} has no {attribute}" + (f"; did you mean {near[0]}?" if near else ""))


def _parts(typed: str) -> tuple[str, str, str]:
    module, colon, attribute = typed.rpartition(":")
    if not colon:
        module, attribute = typed, ""
    if not module:
        raise _bad(typed, "It names no module")
    return module, colon, attribute


def _import(typed: str, module: str, path: Path) -> ModuleType:
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        # A file called like a module that is loaded already (email.py, json.py) must not take its place.
        name = path.stem if path.stem not in sys.modules else f"perdure_agent_{path.stem}"
        loader = importlib.machinery.SourceFileLoader(name, str(path))
        found = importlib.util.module_from_spec(
            importlib.machinery.ModuleSpec(name, loader, origin=str(path))
        )
        # As `python path/to/file.py` would have it: its neighbours can be imported, and so can it (by pydantic,
        # dataclasses and the like, which look their module up).
        sys.path.insert(0, str(path.parent))
        sys.modules[name] = found
        loader.exec_module(found)
    except PerdureError:  # says itself what is wrong, and where
        raise
    except (Exception, SystemExit) as error:
        raise _bad(typed, f"{type(error).__name__}: {error}", _line_of(error)) from error
    return found


def _line_of(error: BaseException) -> str:
    """The last line of the user's own code that the error passed through."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    frames = [f for f in frames if f.filename != __file__] or frames
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def _see_here() -> None:
    """Modules in the working directory are found, as with `python -m`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _bad(typed: str, why: str, where: str = "") -> ClientError:
    return ClientError(
        "E0706", "The agent cannot be imported from this reference", where=where or typed, why=why, fix=_FIX
    )
