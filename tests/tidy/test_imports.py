"""The direction of imports, as a table (architecture, section 5)."""

import ast
from pathlib import Path

import pytest

from tests.tidy.sources import SRC, imports, module_name, python_files, tree, where

# package -> what it may import of ours beside itself; a name covers its submodules
MAY_IMPORT: dict[str, set[str]] = {
    "perdure.core": set(),
    "perdure.clock": set(),
    "perdure.log": set(),
    "perdure.agents": {"perdure.core"},
    "perdure.compiler": {"perdure.agents", "perdure.core"},
    "perdure.wire": {"perdure.core"},
    "perdure.engine": {"perdure.core", "perdure.clock", "perdure.log"},
    "perdure.providers": {"perdure.core", "perdure.clock", "perdure.engine.ports", "perdure.log"},
    # `client.portal` is the event loop behind a synchronous façade; it knows nothing of clients
    "perdure.memory": {"perdure.core", "perdure.clock", "perdure.client.portal"},
    "perdure.frameworks": {"perdure.core", "perdure.agents"},
    "perdure.server": {
        "perdure.wire",
        "perdure.agents",
        "perdure.compiler",
        "perdure.engine.ports",
        "perdure.engine.history_ports",
        "perdure.core",
        "perdure.clock",
        "perdure.log",
    },
    "perdure.worker": {
        "perdure.wire",
        "perdure.agents",
        "perdure.client.transport",
        "perdure.client.calls",
        "perdure.client.api",
        "perdure.core",
        "perdure.clock",
        "perdure.log",
    },
    "perdure.client": {"perdure.wire", "perdure.agents", "perdure.core", "perdure.clock"},
    # The upper half of the client: a runtime serves the tools of the agents that it is given.
    "perdure.client.connection": {
        "perdure.client",
        "perdure.worker",
        "perdure.agents",
        "perdure.core",
        "perdure.clock",
        "perdure.log",
    },
    "perdure.client.runtime": {
        "perdure.client",
        "perdure.worker",
        "perdure.wire",
        "perdure.agents",
        "perdure.core",
        "perdure.clock",
        "perdure.log",
    },
    # the last four: `worker` and `run` serve an agent's tools; `doctor` looks at providers and storage
    "perdure.cli": {
        "perdure.app",
        "perdure.client",
        "perdure.wire",
        "perdure.core",
        "perdure.clock",
        "perdure.log",
        "perdure.agents",
        "perdure.worker",
        "perdure.providers.catalogue",
        "perdure.engine.journal.schema",
    },
    "perdure.__main__": {"perdure.cli"},
    # the composition root and the front door
    "perdure.app": {"perdure"},
    "perdure": {"perdure.agents", "perdure.client", "perdure.core", "perdure.memory", "perdure.app"},
    # shipped fakes and testers: they may use all of it, and nothing may use them
    "perdure.testing": {"perdure"},
}

# (importing module, imported module) inside a function: doors that must stay shut until somebody walks through.
# Each has its reason, and a test below fails when it is no longer used.
LAZY_DOORS: dict[tuple[str, str], str] = {
    ("perdure.client.embedded", "perdure.app"): "a client of a server elsewhere does not import the server",
}

# Modules that are nothing but doors: each name is imported when it is first used.
DOOR_MODULES = {"perdure", "perdure.testing"}

# Packages whose adapters may know a technique; everybody else goes through their ports.
TECHNIQUES: dict[str, tuple[set[str], set[str]]] = {
    "SQL": (
        {"apsw", "sqlite3", "asyncpg", "psycopg", "sqlalchemy"},
        {"perdure.engine.journal", "perdure.server.store", "perdure.memory.stores"},
    ),
    "HTTP": (
        {
            "httpx2", "httpx", "requests", "aiohttp", "urllib.request", "http.client", "http.server",
            "starlette", "uvicorn", "sse_starlette", "websockets",
        },
        {"perdure.server", "perdure.client.transport", "perdure.providers", "perdure.app"},
    ),
}  # fmt: skip


def _package(module: str) -> str:
    """The row of the table that a module belongs to: the longest name that covers it."""
    rows = [row for row in MAY_IMPORT if row != "perdure" and _covers(row, module)]
    return max(rows, key=len) if rows else module


def _covers(name: str, module: str) -> bool:
    return module == name or module.startswith(name + ".")


def _first_party(node: ast.AST) -> set[tuple[int, str]]:
    return {(found.lineno, name) for found, name in imports(node) if _covers("perdure", name)}


def _is_module(name: str) -> bool:
    path = SRC.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@pytest.mark.parametrize("path", python_files("src"), ids=module_name)
def test_imports_follow_the_table(path: Path):
    """A module imports only what the row of its package allows."""
    module = module_name(path)
    package = _package(module)
    assert package in MAY_IMPORT, f"{package} has no row in MAY_IMPORT: say what it may import"
    allowed = MAY_IMPORT[package] | ({package} if package != "perdure" else set())
    wrong = {
        f"{where(path)}:{line} imports {name}"
        for line, name in _first_party(tree(path))
        if _is_module(name)
        and name != "perdure"
        and not any(_covers(a, name) for a in allowed)
        and not any(name == _parent for a in allowed for _parent in _parents(a))
        and (module, name) not in LAZY_DOORS
    }
    assert not wrong, f"{package} may import {sorted(allowed) or 'nothing of ours'}: {sorted(wrong)}"


def _parents(name: str) -> list[str]:
    """`from perdure.engine import ports` names `perdure.engine` too; that alone is not an offence."""
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def test_nothing_imports_the_front_door_or_the_testing_package():
    """No module of the library imports `perdure` itself or `perdure.testing`."""
    wrong = {
        f"{where(path)}:{line} imports {name}"
        for path in python_files("src")
        for line, name in _first_party(tree(path))
        if (name == "perdure" and not _only_submodules(path, line))
        or (_covers("perdure.testing", name) and not _covers("perdure.testing", module_name(path)))
    }
    assert not wrong, sorted(wrong)


def _only_submodules(path: Path, line: int) -> bool:
    """Whether the `from perdure import ...` at this line names modules alone."""
    return all(
        _is_module(f"perdure.{alias.name}")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.lineno == line
        for alias in node.names
    )


def _lazy_imports() -> set[tuple[str, str, str]]:
    """(module, imported, place) of first-party imports in functions and under TYPE_CHECKING."""
    found: set[tuple[str, str, str]] = set()
    for path in python_files("src"):
        for node in ast.walk(tree(path)):
            deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            )
            if deferred:
                names = {(line, name) for line, name in _first_party(node) if _is_module(name)}
                found |= {(module_name(path), name, f"{where(path)}:{line}") for line, name in names}
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                name = node.args[0].value
                called = ast.unparse(node.func)
                if called.endswith("import_module") and isinstance(name, str) and _covers("perdure", name):
                    found.add((module_name(path), name, where(path, node)))
    return found


def _is_door(module: str, name: str) -> bool:
    return module in DOOR_MODULES or any(
        module == m and (name == n or name in _parents(n)) for m, n in LAZY_DOORS
    )


def test_first_party_imports_stand_at_the_top():
    """No import of ours is inside a function or under TYPE_CHECKING, save the listed doors."""
    wrong = {
        f"{place} imports {name}" for module, name, place in _lazy_imports() if not _is_door(module, name)
    }
    assert not wrong, sorted(wrong)


def test_no_listed_door_is_stale():
    """Each listed door is used."""
    used = {(module, name) for module, name, _ in _lazy_imports()}
    assert not set(LAZY_DOORS) - used


def _imported_modules(statement: ast.stmt) -> set[str]:
    """The modules of ours that a statement needs: of `from perdure.core import ids` that is `perdure.core.ids`."""
    names: set[str] = set()
    if isinstance(statement, ast.Import):
        names = {alias.name for alias in statement.names}
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        for alias in statement.names:
            inner = f"{statement.module}.{alias.name}"
            names.add(inner if _is_module(inner) else statement.module)
    return {name for name in names if _covers("perdure", name)}


def _graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports at the top."""
    return {
        module_name(path): set().union(*(_imported_modules(statement) for statement in tree(path).body))
        for path in python_files("src")
    }


def test_no_modules_import_each_other_in_a_circle():
    """Following the imports from a module never leads back to it."""
    graph = _graph()
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module in done:
            return
        for name in sorted(graph.get(module, ())):
            visit(name, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_only_adapters_know_a_technique(technique: str):
    """Only the journal and the memory's stores speak SQL; only the server, the client's transport and the providers speak HTTP."""
    libraries, homes = TECHNIQUES[technique]
    wrong = {
        f"{where(path, node)} imports {name}"
        for path in python_files("src")
        if not any(_covers(home, module_name(path)) for home in homes)
        for node, name in imports(tree(path))
        if any(_covers(library, name) for library in libraries)
    }
    assert not wrong, f"{technique} belongs in {sorted(homes)}: {sorted(wrong)}"
