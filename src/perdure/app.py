"""The composition root: the only module that knows the concrete adapters.

`open_app` puts journal, models, engine and server together in the running event loop and is what the embedded mode
uses; `serve` does the same in a process of its own behind a socket. Order matters: keys are read before anything runs,
the engine resumes what was running before the first request, and at the end requests are finished before the engine is
closed and the data directory let go.
"""

import asyncio
import gc
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
from starlette.types import ASGIApp

from perdure.clock import Clock, SystemClock
from perdure.compiler import compile_definition, decode_definition, plan_hash
from perdure.core.errors import DefinitionError
from perdure.engine import faults
from perdure.engine.config import EngineConfig
from perdure.engine.engine import Engine
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import Catalog, Journal, Models
from perdure.log import get_logger
from perdure.providers.models import ProviderModels
from perdure.server import log
from perdure.server.answers import VERSION
from perdure.server.app import create_app
from perdure.server.deps import ServerDeps, Service, Settings
from perdure.server.keys import OWNER, Keys, Secrets, open_secrets
from perdure.server.listen import HttpServer, bind, url_of
from perdure.wire import DEFAULT_PORT

SERVER_FILE = "server.json"
_LAST_PORT = 65_535
_SHORTEST_LEASE_MS, _LONGEST_LEASE_MS = 100, 3_600_000
_LAST_REQUESTS_S = 3.0


class AppConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set.

    Attributes:
        data_dir: journal, keys and `server.json`; made when absent, for this user alone.
        host: where to listen; another address than this machine's own needs `insecure_bind`.
        port: 0 takes any free one.
        lease_ms: how long a worker holds a task without a heartbeat.
        allowed_hosts: further names under which clients may address the server.
        gives_way: it was started in the background, and is stopped by whoever starts one in the foreground.
        fault: a crash point to arm (`engine.faults`), for crash tests only.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    lease_ms: int = 5_000
    allowed_hosts: tuple[str, ...] = ()
    insecure_bind: bool = False
    gives_way: bool = False
    fault: str | None = None

    def __post_init__(self) -> None:
        _check_range("port", self.port, 0, _LAST_PORT)
        _check_range("lease_ms", self.lease_ms, _SHORTEST_LEASE_MS, _LONGEST_LEASE_MS)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "AppConfig":
        """From PERDURE_HOME, _HOST, _PORT, _LEASE_MS, _ALLOWED_HOSTS (commas), _INSECURE_BIND (1) and _FAULT.

        Raises:
            DefinitionError: E0106 a value is not a number, or outside its range.
        """
        hosts = environ.get("PERDURE_ALLOWED_HOSTS", "").split(",")
        return cls(
            data_dir=Path(environ.get("PERDURE_HOME") or "~/.perdure").expanduser(),
            host=environ.get("PERDURE_HOST") or "127.0.0.1",
            port=_number(environ, "PERDURE_PORT", DEFAULT_PORT),
            lease_ms=_number(environ, "PERDURE_LEASE_MS", 5_000),
            allowed_hosts=tuple(h.strip() for h in hosts if h.strip()),
            insecure_bind=environ.get("PERDURE_INSECURE_BIND") == "1",
            fault=environ.get("PERDURE_FAULT") or None,
        )


class Storage(Journal, Catalog, Protocol):
    """A journal that keeps the plans too, as all adapters do."""


class App:
    """An engine and its HTTP door, open. `close` it in the event loop that opened it.

    Attributes:
        asgi: the ASGI application.
        api_key: the key that opens it.
    """

    def __init__(self, engine: Engine, asgi: ASGIApp, service: Service, api_key: str) -> None:
        self.engine = engine
        self.asgi = asgi
        self.service = service
        self.api_key = api_key

    async def close(self) -> None:
        """End streams and long polls, finish requests and commits under way, let go of the data directory."""
        self.service.begin_stop()
        await self.service.idle(_LAST_REQUESTS_S)
        await self.engine.close()


async def open_app(
    config: AppConfig, *, environ: Mapping[str, str], clock: Clock | None = None, models: Models | None = None
) -> App:
    """Open the data directory and take up what was running.

    Args:
        config: what the operator has set; its host and port do not matter here.
        environ: where the providers' keys are read, at every check.
        clock: the machine's own when absent.
        models: another set of models than all providers.

    Raises:
        JournalError: E0502 another process has the data directory; E0501, E0503, E0504, E0506, E0507.
        ApiError: E0613 a key file is damaged or may be read by others.
    """
    clock = clock or SystemClock()
    if config.fault is not None:
        faults.arm(config.fault)
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets = open_secrets(config.data_dir, clock)
    journal = SqliteJournal(config.data_dir, clock)
    models = models or ProviderModels(environ, clock)
    settings = Settings(allowed_hosts=_hosts(config))
    app = assemble(journal, models, clock, secrets, lease_ms=config.lease_ms, settings=settings)
    try:
        await app.engine.open()
    except BaseException:
        await app.engine.close()
        raise
    return app


def assemble(
    journal: Storage,
    models: Models,
    clock: Clock,
    secrets: Secrets,
    *,
    lease_ms: int = 5_000,
    settings: Settings | None = None,
) -> App:
    """Put engine and server together on a journal; nothing is opened yet, `app.engine.open()` does that.

    Args:
        journal: where everything durable is.
        models: answer model calls.
        clock: what time it is.
        secrets: the key that opens the door, and the secret that task tokens are derived from.
        lease_ms: how long a worker holds a task without a heartbeat.
        settings: limits of the door.
    """
    engine = Engine(journal, journal, models, clock, EngineConfig(lease_ms=lease_ms))
    asgi = create_app(
        ServerDeps(
            executions=engine.executions,
            histories=engine.histories,
            tasks=engine.tasks,
            catalog=journal,
            models=models,
            compile=compile_definition,
            decode_definition=decode_definition,
            plan_hash=plan_hash,
            clock=clock,
            keys=Keys({OWNER: secrets.api_key}),
            secret=secrets.secret,
            statistics=engine.statistics,
            counts=journal.counts,
            fault=lambda: engine.fault,
            settings=settings or Settings(),
        )
    )
    return App(engine, asgi, asgi.state.service, secrets.api_key)


def serve(
    config: AppConfig, environ: Mapping[str, str], on_listening: Callable[[], None] = lambda: None
) -> None:
    """Run the server in the foreground until SIGTERM or SIGINT; returns after a clean stop.

    While it accepts connections, `server.json` in the data directory says where: url, pid, version, started_at_ms,
    gives_way. *on_listening* is called once the file is there.

    Raises:
        ApiError: E0612 the address is not this machine's own; E0613 a key file; E0614 the port is in use.
        JournalError: as `open_app`.
    """
    log.configure()
    tune_gc()
    with (
        bind(config.host, config.port, insecure=config.insecure_bind) as listening,
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(_serve(config, environ, listening, on_listening))


def tune_gc() -> None:
    """Let the cyclic collector run less often, for a process that is a server and nothing else.

    A step leaves a few dozen objects that live as long as its execution, and hardly a cycle: with the interpreter's
    thresholds the collector took 15 % of the event loop's time in W1 (docs/benchmarks.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _serve(
    config: AppConfig,
    environ: Mapping[str, str],
    listening: socket.socket,
    on_listening: Callable[[], None],
) -> None:
    clock = SystemClock()
    logger = get_logger("perdure.server")
    url = url_of(listening)
    app = await open_app(config, environ=environ, clock=clock)
    server_file = config.data_dir / SERVER_FILE

    def started() -> None:
        written = {
            "pid": os.getpid(),
            "url": url,
            "version": VERSION,
            "started_at_ms": clock.now_ms(),
            "gives_way": config.gives_way,
        }
        _write_at_once(server_file, json.dumps(written) + "\n")
        logger.info("listening", url=url, data_dir=str(config.data_dir), version=VERSION)
        on_listening()

    try:
        await HttpServer(app.asgi, started, app.service.begin_stop).serve([listening])
    finally:
        # Gone before the data directory is free: no client is sent to a server that has stopped.
        server_file.unlink(missing_ok=True)
        await app.close()
        logger.info("stopped", url=url)


def _hosts(config: AppConfig) -> tuple[str, ...]:
    """Names for the Host header; an address that was chosen explicitly is one of them."""
    return (*config.allowed_hosts, config.host)


def _write_at_once(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old one or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The one of uvloop, where it exists."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise DefinitionError(
            "E0106", f"{name} must be a whole number, not {text!r}", fix=f"e.g. {name}={default}"
        )
    return int(text)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise DefinitionError("E0106", f"{name} must be between {least} and {most}, not {value}")
