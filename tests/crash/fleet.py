"""A server that crashes and is restarted, a worker and a client that go on, and a ledger that remembers.

The server is a real process on a real socket and a real SQLite file (forked from a process that has imported it, so
that a start costs milliseconds). The worker and the client live here and see only lost connections.
"""

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from perdure.agents import Agent, ToolContext
from perdure.app import AppConfig, serve
from perdure.client.api import ApiClient
from perdure.client.transport import HttpTransport
from perdure.clock import SystemClock
from perdure.worker.functions import queue_functions
from perdure.worker.worker import Worker
from tests.free_port import free_port

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["perdure.app", "uvloop", "uvicorn"])
CRASHED = 137
LEASE_MS = 400


def _serve(data_dir: str, port: int, fault: str | None) -> None:
    log = os.open(f"{data_dir}/server.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    serve(AppConfig(data_dir=Path(data_dir), port=port, lease_ms=LEASE_MS, fault=fault), {})


class Fleet:
    """Use as `async with Fleet(path) as fleet`. `crashes` has the exit code of every server that ended unasked."""

    def __init__(self, home: Path) -> None:
        self.home = home / "home"
        self.ledger_file = home / "ledger.jsonl"
        self.port = free_port()
        self.crashes: list[int] = []
        self.acked: list[tuple[str, Any]] = []
        self.clock = SystemClock()
        # Faults of the servers that follow the first, in turn.
        self.next_fault: list[str] = []
        self._ending = False

    async def __aenter__(self) -> Self:
        self.home.mkdir(mode=0o700)
        self.ledger_file.touch()
        self._ledger = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ledger.py")), str(self.ledger_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._ledger.stdout is not None
        self.ledger_port = int(self._ledger.stdout.readline())
        return self

    async def launch(self, fault: str | None = None) -> None:
        """Start the first server, armed with *fault*, and whoever restarts it."""
        self._start(fault)
        await self._listening()
        self.key = (self.home / "api_key").read_text().strip()
        self.api = self.client()
        self._supervisor = asyncio.create_task(self._supervise())

    def client(self) -> ApiClient:
        """Another connection to the server."""
        url = f"http://127.0.0.1:{self.port}"
        return ApiClient(HttpTransport(url), self.clock, api_key=self.key, patience_s=30, reconnect_s=30)

    def serve_tools(self, agent: Agent) -> Worker:
        """Start a worker in this process for the tools and functions of the agent and of all below it."""
        self.worker = Worker(self.client(), queue_functions(agent), self.clock, name="worker-1")
        self.worker.start()
        return self.worker

    def _start(self, fault: str | None) -> None:
        self.server = _FORKS.Process(target=_serve, args=(str(self.home), self.port, fault), daemon=True)
        self.server.start()

    async def _listening(self) -> None:
        for _ in range(1000):
            if (self.home / "server.json").exists():
                pid = json.loads((self.home / "server.json").read_text())["pid"]
                if pid == self.server.pid:
                    return
            if self.server.exitcode is not None:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the server did not start: " + (self.home / "server.log").read_text()[-2000:])

    async def _supervise(self) -> None:
        while True:
            while self.server.exitcode is None:
                await asyncio.sleep(0.005)
            if self._ending:
                return
            self.crashes.append(self.server.exitcode)
            self._start(self.next_fault.pop(0) if self.next_fault else None)
            await self._listening()

    def kill(self) -> None:
        """SIGKILL the server; it is restarted."""
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)

    async def effect(self, context: ToolContext, tool: str) -> None:
        """Tell the ledger that a tool took effect."""
        body = json.dumps(
            {
                "tool": tool,
                "execution": context.execution_id,
                "step": context.step,
                "epoch": context.attempt,
                "key": context.idempotency_key,
            }
        ).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ledger_port)
        writer.write(
            b"POST / HTTP/1.1\r\nhost: ledger\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        await writer.drain()
        assert (await reader.read()).startswith(b"HTTP/1.1 204")
        writer.close()
        await writer.wait_closed()

    async def end(self) -> None:
        """Stop worker and server in good order, so that the journal can be looked at."""
        if hasattr(self, "worker"):
            await self.worker.stop(grace_s=5)
            await self.worker._api.transport.aclose()
        self._ending = True
        if self.server.exitcode is None:
            self.server.terminate()
        await asyncio.to_thread(self.server.join, 10)
        await self._supervisor
        await self.api.aclose()

    async def __aexit__(self, *_exc: object) -> None:
        if not self._ending:
            with contextlib.suppress(Exception):
                await self.end()
        if self.server.is_alive():
            self.server.kill()
        self.server.join(5)
        self.server.close()
        assert self._ledger.stdin is not None
        assert self._ledger.stdout is not None
        self._ledger.stdin.close()
        self._ledger.stdout.close()
        self._ledger.wait(5)

    def ledger(self) -> list[dict[str, Any]]:
        """What took effect, in order."""
        return [json.loads(line) for line in self.ledger_file.read_text().splitlines()]
