"""What code may not call: clocks and randomness outside one module, I/O in the pure packages, and code as data."""

import ast
import re
from pathlib import Path

import pytest

from tests.tidy.sources import calls, imports, module_name, python_files, tree, where

PURE = ("src/perdure/core", "src/perdure/agents", "src/perdure/compiler")
IMPURE_MODULES = {
    "aiofiles", "anyio", "apsw", "asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "io", "logging",
    "multiprocessing", "os", "pathlib", "random", "secrets", "select", "shutil", "signal", "socket", "sqlite3",
    "ssl", "structlog", "subprocess", "tempfile", "threading", "time", "trio", "urllib.request", "uuid",
}  # fmt: skip
# Types of those modules that are values and touch nothing.
PURE_TYPES = {"pathlib.PurePath", "pathlib.PurePosixPath", "uuid.UUID"}
# What a tool is given by the worker that runs it: a logger, and an event that says that it should stop.
PURE_EXCEPT = {"perdure.agents.context": {"logging", "threading"}}
IMPURE_CALLS = {"open", "input", "print", "breakpoint", "__import__"}

# Time, ids and randomness come from a `Clock`; these functions are named in src/perdure/clock.py alone.
CLOCK_MODULE = "perdure.clock"
NONDETERMINISM = re.compile(
    r"time\.(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|process_time|localtime|gmtime)$"
    r"|datetime\.(datetime\.)?(now|utcnow|today)$|datetime\.date\.today$"
    r"|uuid\.uuid[0-9]$|os\.(urandom|getrandom)$"
    r"|random\.\w+$|secrets\.(token_\w+|choice|randbelow|randbits)$"
)

# S-22: nothing that turns data into code, anywhere in the library.
CODE_AS_DATA_MODULES = {
    "pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "joblib", "code", "codeop",
}  # fmt: skip
CODE_AS_DATA_CALLS = {
    "eval",
    "exec",
    "compile",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
}

SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM\s|INSERT\s+(OR\s+\w+\s+)?INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s"
    r"|CREATE\s+(TABLE|INDEX|UNIQUE|TRIGGER|VIEW)|PRAGMA\s|BEGIN\s+(IMMEDIATE|EXCLUSIVE))",
    re.DOTALL,
)


def _takes_only_types(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.ImportFrom) and all(
        f"{node.module}.{a.name}" in PURE_TYPES for a in node.names
    )


@pytest.mark.parametrize("path", python_files(*PURE), ids=module_name)
def test_pure_packages_do_nothing_but_compute(path: Path):
    """`core`, `agents` and `compiler` never await, read a clock, draw a number or touch a file."""
    wrong = [
        f"{where(path, node)} awaits"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    wrong += [
        f"{where(path, node)} imports {name}"
        for node, name in imports(tree(path))
        if any(name == banned or name.startswith(banned + ".") for banned in IMPURE_MODULES)
        and name not in PURE_TYPES | PURE_EXCEPT.get(module_name(path), set())
        and not _takes_only_types(node)
    ]
    wrong += [
        f"{where(path, node)} calls {ast.unparse(node.func)}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("path", python_files("src"), ids=module_name)
def test_clocks_and_randomness_have_one_home(path: Path):
    """Outside `perdure.clock` nothing reads the time or draws a random number."""
    if module_name(path) == CLOCK_MODULE:
        return
    wrong = [
        f"{where(path, node)} uses {name}"
        for node, name in calls(tree(path))
        if NONDETERMINISM.fullmatch(name)
    ]
    assert not wrong, f"take a Clock as an argument instead: {wrong}"


@pytest.mark.parametrize("path", python_files("src"), ids=module_name)
def test_nothing_turns_data_into_code(path: Path):
    """No pickle, marshal, shelve, eval, exec, compile or unsafe YAML anywhere in the library (S-22)."""
    wrong = [
        f"{where(path, node)} imports {name}"
        for node, name in imports(tree(path))
        if name.partition(".")[0] in CODE_AS_DATA_MODULES
    ]
    wrong += [
        f"{where(path, node)} calls {ast.unparse(node)}"
        for node, name in calls(tree(path))
        if name in CODE_AS_DATA_CALLS
    ]
    assert not wrong, wrong


def test_only_storage_speaks_sql():
    """No text that looks like SQL stands outside `engine/journal` and the memory's stores."""
    wrong = [
        where(path, node)
        for path in python_files("src")
        if not module_name(path).startswith(
            ("perdure.engine.journal", "perdure.server.store", "perdure.memory.stores")
        )
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value)
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "source",
    [
        "import time\nnow = time.time()",
        "from time import monotonic as tick\ntick()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()",
        "import uuid as u\nf(default=u.uuid4)",
        "import random\nrandom.random()",
        "from random import choice\nchoice([1])",
    ],
)
def test_the_check_of_clocks_sees_through_aliases(source: str):
    """A banned function is found under any name that it is imported by."""
    assert any(NONDETERMINISM.fullmatch(name) for _, name in calls(ast.parse(source)))
