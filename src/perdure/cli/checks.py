"""What `perdure doctor` looks at: one function per matter, each giving lines of ok, warn or fail with a fix.

They look and measure; nothing is changed but a small file in the data directory, which is written to see how long
it takes until it is on the disk, and removed.
"""

import importlib
import importlib.metadata
import os
import platform
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import msgspec

from perdure.cli import text
from perdure.cli.options import Invocation
from perdure.client.api import ApiClient
from perdure.client.discovery import api_key_of, candidates, home_of
from perdure.client.transport import HttpTransport
from perdure.core.errors import PerdureError
from perdure.core.model import ModelRef
from perdure.engine.journal.schema import check_sqlite
from perdure.providers.catalogue import PROVIDERS, check_library, resolve_access
from perdure.wire import WIRE_VERSION

Level = Literal["ok", "warn", "fail"]
OLDEST_PYTHON = (3, 11)
NEWEST_TESTED = (3, 14)
EARLIEST_MS = 1_750_000_000_000  # before this release was written: a clock that says so is wrong
SLOW_FSYNC_MS = 20.0
FSYNCS = 20
OTHERS = 0o077


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, how it is, and what to do about it."""

    name: str
    level: Level
    words: str
    fix: str = ""


Check = Callable[[Invocation], Awaitable[list[Finding]]]


async def python(call: Invocation) -> list[Finding]:
    """The interpreter and this package."""
    del call
    version = platform.python_version()
    number = importlib.metadata.version("perdure")
    found = [Finding("perdure", "ok", f"{number}, wire {WIRE_VERSION}")]
    if sys.version_info < OLDEST_PYTHON:
        return [*found, Finding("python", "fail", version, "Use Python 3.11 or newer.")]
    if sys.version_info[:2] > NEWEST_TESTED:
        return [
            *found,
            Finding("python", "warn", f"{version} is newer than what this release was tested with"),
        ]
    return [*found, Finding("python", "ok", version)]


async def sqlite(call: Invocation) -> list[Finding]:
    """The SQLite that the journal is written with: the one that apsw carries, not Python's own."""
    del call
    version = str(importlib.import_module("apsw").sqlite_lib_version())
    try:
        check_sqlite(version)
    except PerdureError as error:
        return [Finding("sqlite", "fail", f"{version}: {error.what}", error.fix)]
    return [Finding("sqlite", "ok", f"{version} (apsw {importlib.metadata.version('apsw')})")]


async def clock(call: Invocation) -> list[Finding]:
    """The machine's clock."""
    if call.clock.now_ms() < EARLIEST_MS:
        return [
            Finding("clock", "fail", "the date is before this release", "Set the date; use a time service.")
        ]
    return [Finding("clock", "ok", "plausible")]


async def home(call: Invocation) -> list[Finding]:
    """The data directory and its files."""
    place = home_of(None, call.environ)
    if not place.is_dir():
        return [Finding("home", "ok", f"{place} does not exist yet; the first start of a server makes it")]
    found = []
    for path, what in ((place, "home"), (place / "api_key", "api_key"), (place / "secret", "secret")):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.stat().st_uid != os.getuid():
            found.append(
                Finding(what, "fail", f"{path} belongs to another user", f"chown {os.getuid()} {path}")
            )
        elif mode & OTHERS:
            # A key that others can read is refused by the server; the directory alone is only untidy.
            level: Level = "warn" if path == place else "fail"
            fix = f"chmod {'700' if path == place else '600'} {path}"
            found.append(Finding(what, level, f"others can read {path} (mode {mode:o})", fix))
        else:
            found.append(Finding(what, "ok", f"{path} (mode {mode:o})"))
    if not os.access(place, os.W_OK):
        found.append(Finding("home", "fail", f"{place} cannot be written", f"chmod u+rwx {place}"))
    return found


async def disk(call: Invocation) -> list[Finding]:
    """How long it takes until a write is on the disk: every step of an execution waits for one."""
    place = home_of(None, call.environ)
    if not os.access(place, os.W_OK):
        return []
    times = sorted(_fsync_times(place / f".doctor-{os.getpid()}", call))
    middle, worst = times[len(times) // 2], times[-1]
    words = f"fsync takes {middle:.2f} ms (longest of {len(times)}: {worst:.2f} ms) in {place}"
    if middle > SLOW_FSYNC_MS:
        return [Finding("disk", "warn", words, "Put PERDURE_HOME on a faster, local disk.")]
    return [Finding("disk", "ok", words)]


def _fsync_times(path: Path, call: Invocation) -> list[float]:
    times = []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(FSYNCS):
            began = call.clock.monotonic()
            os.write(descriptor, b"x" * 4096)
            os.fsync(descriptor)
            times.append((call.clock.monotonic() - began) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return times


async def server(call: Invocation) -> list[Finding]:
    """The server: whether it answers, speaks our version and takes our key."""
    place = home_of(None, call.environ)
    try:
        where = candidates(None, place, call.environ)
    except PerdureError as error:
        return [Finding("server", "fail", error.what, error.fix)]
    for url in where.urls:
        client = ApiClient(
            HttpTransport(url, connect_timeout_s=2.0),
            call.clock,
            api_key=api_key_of(None, place, call.environ),
            patience_s=0.0,
        )
        try:
            return await _ask(client, url)
        except PerdureError as error:
            if error.code != "E0701":
                return [
                    Finding("server", "fail", f"{url}: [{error.code}] {text.line(error.what)}", error.fix)
                ]
        finally:
            await client.aclose()
    words = f"none answers at {' or '.join(where.urls)}"
    if where.fixed:
        return [Finding("server", "fail", words, "Start it there, or unset PERDURE_SERVER_URL.")]
    return [Finding("server", "warn", words, "perdure server start (`perdure run` starts one by itself)")]


async def _ask(client: ApiClient, url: str) -> list[Finding]:
    answer = await client.health(timeout_s=3.0)
    ours = importlib.metadata.version("perdure")
    words = f"{url}: {text.line(answer.status)}, version {text.line(answer.version)}"
    found = [Finding("server", "ok" if answer.status == "ok" else "fail", words)]
    if answer.wire != WIRE_VERSION:
        fix = "Install the same version on both sides."
        found.append(
            Finding("version", "fail", f"the server speaks wire {answer.wire}, we {WIRE_VERSION}", fix)
        )
    elif answer.version != ours:
        fix = "Restart the server: perdure server stop && perdure server start"
        found.append(
            Finding("version", "warn", f"the server is {text.line(answer.version)}, this is {ours}", fix)
        )
    try:
        await client.executions(limit=1)
    except PerdureError as error:
        found.append(Finding("auth", "fail", f"[{error.code}] {text.line(error.what)}", error.fix))
    else:
        found.append(Finding("auth", "ok", "the server takes our key"))
    return found


async def providers(call: Invocation) -> list[Finding]:
    """Providers whose key is in the environment, and whether their library is installed."""
    found = []
    for provider in PROVIDERS:
        if not provider.keys:  # needs none: nothing says whether anybody means to use it
            continue
        ref = ModelRef(provider.name, "any")
        try:
            access = resolve_access(provider, ref, call.environ, {})
        except PerdureError:
            continue
        names = ", ".join(sorted(name for name, _ in access.settings))
        try:
            check_library(provider, ref)
        except PerdureError as error:
            found.append(
                Finding(f"model {provider.name}", "warn", f"{names} is set; {error.what.lower()}", error.fix)
            )
        else:
            found.append(Finding(f"model {provider.name}", "ok", f"{names} is set, library installed"))
    if not found:
        fix = "Set the key of a provider, e.g. OPENAI_API_KEY, where the server runs. mock/... needs none."
        found.append(Finding("models", "ok", "no provider's key is in this environment", fix))
    return found


CHECKS: tuple[Check, ...] = (python, sqlite, clock, home, disk, server, providers)
