"""The demonstration: an agent is killed in the middle of its work, goes on, waits for a person and finishes.

Everything in it is real: a server process, a worker process, SIGKILL, a journal on disk. The tools belong to
`demo_agent`; what is claimed at the end is counted by `demo_report` from what the tools wrote down themselves.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from perdure.agents.definitions import agent_definition
from perdure.cli import decide, exits, plain, render, text
from perdure.cli.children import Child, started
from perdure.cli.demo_agent import MODEL, PROMPT, SLOW_TOOLS, Ledger, support_agent
from perdure.cli.demo_report import Report, count_calls, run_again, steps_with_results
from perdure.cli.keys import Keyboard
from perdure.cli.local_model import LocalModel
from perdure.cli.nodes import Node
from perdure.cli.options import Invocation
from perdure.cli.view import View
from perdure.client.api import ApiClient
from perdure.client.discovery import api_key_of, read_server_file
from perdure.client.transport import HttpTransport
from perdure.core.definition import AgentDefinition
from perdure.core.errors import ClientError, from_wire
from perdure.wire.types import DecisionBody, EventRecord, StartBody

LEASE_MS = 2_000  # shorter than the default of 5 s, so that nobody waits long for the dead worker
POLL_S = 0.02
PATIENCE_S = {True: 60.0, False: 600.0}  # how long the mock model, or a real one, may take
AGENT = "perdure.cli.demo_agent:agent"


class _NoArea:
    """Nothing is redrawn here."""

    def start(self, refresh: bool = False) -> None:  # noqa: FBT001, FBT002 - rich's signature
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Demo:
    """One demonstration.

    Args:
        home: an empty directory for its server.
        answer: whether a person is asked; otherwise the demonstration approves by itself and says so.
        local: the model that is served on this machine at *base_url*, in place of *model*.
    """

    def __init__(
        self,
        call: Invocation,
        home: Path,
        model: str | None,
        base_url: str | None,
        *,
        answer: bool,
        local: LocalModel | None = None,
    ) -> None:
        self.call, self.home, self.answer, self.local = call, home, answer, local
        self.model = f"openai_compatible/{local.name}" if local else model or MODEL
        agent = support_agent(self.model, base_url, small=local.held_to if local else None)
        self.definition: AgentDefinition = agent_definition(agent)
        self.ledger = Ledger(home / "ledger.jsonl")
        self.events: list[EventRecord] = []
        self.view = View("")
        self._port = 0
        self._deadline = call.clock.monotonic() + PATIENCE_S[self.model.startswith("mock/")]
        kept = {k: v for k, v in call.environ.items() if k not in {"PERDURE_SERVER_URL", "PERDURE_API_KEY"}}
        self._environ = kept | {
            "PERDURE_HOME": str(home),
            "PERDURE_HOST": "127.0.0.1",
            "PERDURE_LEASE_MS": str(LEASE_MS),
            "PERDURE_DEMO_LEDGER": str(home / "ledger.jsonl"),
            "PERDURE_DEMO_MODEL": self.model,
            "PERDURE_DEMO_BASE_URL": base_url or "",
            "no_proxy": f"{kept.get('no_proxy') or kept.get('NO_PROXY') or ''},127.0.0.1".lstrip(","),
        }

    # Words -----------------------------------------------------------------------------------------------

    def say(self, words: str = "") -> None:
        """A line of the story; on stderr when stdout is for a program."""
        (self.call.screen.line if self.call.screen.for_people else self.call.screen.note)(words)

    def _say_clipped(self, words: str) -> None:
        """A line that need not be whole: `perdure show` has it all."""
        if self.call.screen.terminal and len(words) > self.call.screen.out.width:
            words = words[: self.call.screen.out.width - 1] + "…"
        self.say(words)

    def head(self, words: str) -> None:
        """The beginning of a part."""
        self.say()
        if self.call.screen.for_people and self.call.screen.terminal:
            self.call.screen.out.print(words, style="bold")
        else:
            self.say(words)

    # The story -------------------------------------------------------------------------------------------

    async def run(self) -> Report:
        """Tell it.

        Raises:
            PerdureError: the model has no key, a process does not start, or nothing happens for too long.
        """
        self.head("1  Start: a server and a worker, each a process of its own")
        async with self._processes() as (server, worker), self._reading() as api:
            await self._begin(api)
            node = await self._until(self._in_mid_tool, api)
            before, kept = await self._kill(node, worker, server)
            if node is not None:
                self.head("4  Restart: a new server and a new worker on the same journal")
                async with self._processes():
                    await self._go_on(api, node, before, kept)
            return self._report(node, before, kept)

    @contextlib.asynccontextmanager
    async def _processes(self) -> AsyncIterator[tuple[Child, Child]]:
        """A server and a worker that are ready; always the same port, so that whoever streams finds it again."""
        began = self.call.clock.monotonic()
        arguments = ("server", "start", "--foreground", "--port", str(self._port))
        async with started("server", arguments, self._environ, self.home / "server.log") as server:
            url = await self._server_ready(server)
            self.say(f"   server  pid {server.pid}, {url}, journal in {self.home}")
            if not self.view.execution_id:
                await self._check_model(url)
            worker_command = ("worker", AGENT, "--no-deploy")
            environ = {**self._environ, "PERDURE_SERVER_URL": url}  # named: it starts no server by itself
            async with started("worker", worker_command, environ, self.home / "worker.log") as worker:
                await worker.said("serving", self.call.clock)
                took = text.duration(round((self.call.clock.monotonic() - began) * 1000))
                tools = ", ".join(t.name for t in self.definition.tools)
                self.say(f"   worker  pid {worker.pid}, serves {tools} (both ready after {took})")
                yield server, worker

    async def _server_ready(self, server: Child) -> str:
        while True:
            found = read_server_file(self.home)
            if found is not None and found.pid == server.pid:
                self._port = int(found.url.rsplit(":", 1)[1])
                return found.url
            server.check()
            await self._tick()

    async def _check_model(self, url: str) -> None:
        """Tell that the model lacks its key before anything begins."""
        api = self._client(url)
        try:
            problem = (await api.plan(self.definition)).model_problem
        finally:
            await api.aclose()
        if problem:
            raise from_wire(problem)

    def _client(self, url: str) -> ApiClient:
        key = api_key_of(None, self.home, self._environ)
        return ApiClient(HttpTransport(url), self.call.clock, api_key=key)

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[ApiClient]:
        """The API, kept over the restart as any client would keep it."""
        api = self._client(f"http://127.0.0.1:{self._port}")
        try:
            yield api
        finally:
            await api.aclose()

    async def _begin(self, api: ApiClient) -> None:
        about = " (built in and deterministic: no key, no network)" if self.model == MODEL else ""
        if self.local is not None:
            about = f", which is {self.local.title}"
        self.say(f"   model   {text.line(self.model)}{about}")
        self.head("2  Run: a customer writes to the support agent")
        self.say(f"   “{PROMPT}”")
        found = await api.start(StartBody(PROMPT, definition=self.definition))
        self.view = View(found.execution_id)

    async def _until(self, reached: "Callable[[], Node | None]", api: ApiClient) -> Node | None:
        """Follow the stream until *reached* gives a step, or the execution ends (None). Approvals are answered."""
        reader = asyncio.create_task(self._read(api))
        try:
            while not self.view.ending:
                if (node := reached()) is not None:
                    return node
                if self.view.approvals:
                    await self._decide(api)
                if reader.done():
                    reader.result()
                await self._tick()
            return None
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self, api: ApiClient) -> None:
        async with contextlib.aclosing(api.stream(self.view.execution_id, self.view.seq)) as stream:
            async for record in stream:
                if self.view.apply(record) and isinstance(record, EventRecord):
                    self.events.append(record)
                    self._say_clipped("   " + plain.event_line(self.view, record))

    def _in_mid_tool(self) -> Node | None:
        """A slow tool that has had its effect, while the journal has no result of it yet."""
        done = {
            str(e["key"]) for e in self.ledger.entries() if e["what"] == "effect" and e["tool"] in SLOW_TOOLS
        }
        return next((n for n in self.view.nodes if n.key in done and not n.settled), None)

    async def _kill(self, node: Node | None, worker: Child, server: Child) -> tuple[int, list[str]]:
        if node is None:
            self.say("   The agent ended without a tool that runs long enough to be killed in its middle.")
            return self.view.seq, steps_with_results(self.view)
        self.head(f"3  Kill: SIGKILL to worker and server while {node.name} runs")
        for child in (worker, server):
            number = await child.kill()
            self.say(f"   {child.name}  pid {child.pid} is dead (signal {number})")
        kept = steps_with_results(self.view)
        self.say(
            f"   It hit {node.name} at the worst moment: after its effect, before its result was recorded."
        )
        self.say(f"   The journal ends at seq {self.view.seq}; {len(kept)} steps have their result in it.")
        return self.view.seq, kept

    async def _go_on(self, api: ApiClient, node: Node, before: int, kept: list[str]) -> None:
        self.say(
            f"   Nobody tells them what to do: the journal does. {node.name} is offered again when the lease of"
        )
        self.say(f"   the dead worker has run out ({LEASE_MS / 1000:g} s), with the same idempotency key.")
        await self._until(lambda: self._resumed(node), api)
        again = run_again(kept, self.events, before)
        self.say(
            f"   seq {before} before the kill, seq {self.view.seq} now; of the {len(kept)} steps recorded before,"
        )
        self.say(
            f"   {len(again) or 'none'} ran again. {node.name} is attempt {node.attempts} under one key."
        )
        self.head("5  A person decides: refunds need an approval")
        await self._until(lambda: None, api)

    def _resumed(self, node: Node) -> Node | None:
        return node if node.settled else None

    async def _decide(self, api: ApiClient) -> None:
        """The open question, answered by the person, or by the demonstration where there is none."""
        node = self.view.approvals[0]
        approval = node.open_approval
        if approval is None:
            return
        waiting = approval.approval_id
        if self.answer:
            await self._ask(api, waiting)
            return
        for row in render.question(node, approval):
            self.say("   " + row.plain)
        self.say("   There is no terminal to ask in, so the demonstration approves it by itself.")
        await api.decide(waiting, DecisionBody("approved", approval.effect_hash, by="demo", channel="cli"))
        await self._decided(waiting)

    async def _ask(self, api: ApiClient, waiting: str) -> None:
        self.say("   The agent waits, for as long as it takes, and costs nothing meanwhile. Decide:")
        self._deadline = float("inf")
        with Keyboard(self.call.screen.stdin.fileno()) as keyboard:
            desk = decide.Desk(self.call, api, self.view, keyboard, _NoArea(), postpone=False)
            shown = ""
            while self._open(waiting):
                await desk.attend()
                hint = desk.hint()
                if hint is not None and hint.plain != shown:
                    shown = hint.plain
                    self.call.screen.lines([hint])
                await asyncio.sleep(POLL_S)
        self._deadline = self.call.clock.monotonic() + PATIENCE_S[self.model.startswith("mock/")]

    async def _decided(self, waiting: str) -> None:
        while self._open(waiting):
            await self._tick()

    def _open(self, approval_id: str) -> bool:
        return any(
            n.open_approval and n.open_approval.approval_id == approval_id for n in self.view.approvals
        )

    async def _tick(self) -> None:
        if self.call.clock.monotonic() > self._deadline:
            raise ClientError(
                "E0705",
                "The demonstration takes too long",
                where=f"execution {self.view.execution_id or 'not started'}",
                fix=f"Begin again with --keep and read the logs in the home; see {self.home} now.",
            )
        await asyncio.sleep(POLL_S)

    def _report(self, node: Node | None, before: int, kept: list[str]) -> Report:
        return Report(
            execution_id=self.view.execution_id,
            status=self.view.status,
            model=self.model,
            killed_in=None if node is None else node.name,
            seq_before=before,
            seq_after=self.view.seq,
            kept=kept,
            redone=run_again(kept, self.events, before),
            calls=count_calls(self.ledger.entries(), self.view),
        )


def tell(demo: Demo, report: Report, *, kept_home: bool) -> int:
    """The last part of the story; returns the exit code."""
    demo.head("6  The answer")
    for row in render.closing(demo.view):
        for line in row.plain.splitlines():
            demo.say("   " + line)
    for words in _real_words(demo, report):
        demo.say(words)
    demo.head("7  The effects, counted in the ledger that the tools wrote")
    demo.say("   tool          key             started  effects  results")
    for c in report.calls:
        demo.say(
            f"   {text.line(c.tool):<13} {c.key[:14]}…  {c.attempts:>6}  {c.effects:>7}  {c.recorded:>7}"
        )
    effects = sum(c.effects for c in report.calls)
    attempts = sum(c.attempts for c in report.calls)
    doubled = f"{len(report.doubled)} doubled" if report.doubled else "none doubled"
    demo.say(f"   {len(report.calls)} calls, started {attempts} times, {effects} effects: {doubled}.")
    if report.redone:
        demo.say(f"   But {len(report.redone)} recorded steps ran again: {', '.join(report.redone)}.")
    for words in _next_words(demo, report, kept_home=kept_home):
        demo.say(words)
    if not demo.call.screen.for_people:
        demo.call.screen.data(report)
    return exits.OK if report.good else exits.FAILED


def _real_words(demo: Demo, report: Report) -> list[str]:
    """What must be said about a model that is free to do as it likes."""
    words = []
    if demo.local is not None:
        words.append(
            "   (Every word above is the model's own. So small a model is no judge of what it did: the"
        )
        words.append("   ledger below is.)")
    if report.model != MODEL and not any(c.tool == "refund" for c in report.calls):
        asked = any(n.kind == "tool" and n.name == "refund" for n in demo.view.nodes)
        why = "The refund was not made" if asked else "The model did not ask for the refund"
        words.append(f"   {why}: no money was moved, whatever the answer says.")
    return words


def _next_words(demo: Demo, report: Report, *, kept_home: bool) -> list[str]:
    words = ["", "Next"]
    if report.model == MODEL:
        words.append(
            "   It ran on the built-in mock model. With a real one (set its key, e.g. OPENAI_API_KEY):"
        )
        words.append("     make demo MODEL=openai/gpt-5-mini    or    perdure demo --model openai/gpt-5-mini")
    else:
        words.append(f"   It ran on {text.line(demo.local.title if demo.local else report.model)}.")
    if demo.local is not None:
        words.append(
            "   On a larger one (set its key):                        make demo MODEL=openai/gpt-5-mini"
        )
    if kept_home:
        words.append("   The whole story of this execution, from its journal:")
        words.append(f"     export PERDURE_HOME={demo.home}")
        words.append(f"     perdure server start --port 0 && perdure show {report.execution_id}")
    else:
        words.append("   Keep the journal to look into it:                     perdure demo --keep")
    if shutil.which("perdure") is None:
        activate = os.path.relpath(Path(sys.prefix) / "bin" / "activate")
        words.append(f"   So that your shell finds `perdure`:                   . {activate}")
    words.append("   Your own agent, reloaded when its file changes:       perdure dev agent.py:agent")
    words.append("   All commands:                                         perdure --help")
    return words


def asks(call: Invocation) -> bool:
    """Whether a person is there to answer."""
    return call.screen.interactive and not call.environ.get("CI")
