"""The child of a crash test in processes: server, worker and journal in one, which kills itself at its point.

    python -m perdure.testing.crash_child FOLDER

FOLDER has `errand.json` (`Errand`), and keeps what outlives the child: the data directory `data`, the facts, and in the end
`answer.json` (`Answer`). The next child in the same folder takes the run up where the one before it was killed.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from perdure.agents.agent import Agent
from perdure.agents.functions import Served
from perdure.app import App, assemble
from perdure.client.api import ApiClient
from perdure.client.inprocess import InProcessTransport
from perdure.clock import SystemClock
from perdure.core.errors import PerdureError
from perdure.core.model import ModelRequest
from perdure.engine.journal.sqlite import SqliteJournal
from perdure.engine.ports import TERMINAL_STATUSES, Commit, Models, StoredExecution
from perdure.server.keys import open_secrets
from perdure.testing.carried import Carried, load_agent
from perdure.testing.crash_facts import Asking, Began, Ended, Facts, Outcome, Took
from perdure.testing.crash_judge import outcomes
from perdure.testing.ledger import Ledger, ToolAttempt, watched_functions
from perdure.testing.runs import Call, Drive, models_of
from perdure.testing.scripts import ScriptedModels
from perdure.testing.stage import JournalSpeakers
from perdure.testing.tree import Node
from perdure.wire.types import EventRecord, ExecutionAnswer
from perdure.worker.functions import dependencies_of, metadata_of
from perdure.worker.worker import Worker

ERRAND, ANSWER, FACTS, DATA = "errand.json", "answer.json", "facts.jsonl", "data"
# Real time, which the child that follows a kill waits for; long enough for a heartbeat on a busy machine.
LEASE_MS = 1_000
LOOK_S = 2.0
_NEWS = TERMINAL_STATUSES | {"waiting:message"}


class Errand(msgspec.Struct):
    """What a child is to do.

    Attributes:
        agent: `module:attribute`.
        moment, number: where it kills itself; nowhere when *moment* is empty.
    """

    agent: str
    prompt: str
    script: Carried
    model: Carried
    tools: Carried
    approve: Carried
    context: dict[str, Any] | None
    messages: list[str]
    timeout: float
    moment: str = ""
    number: int = 0


class Told(msgspec.Struct):
    """An execution of the tree, as it crossed the wire; see `tree.Node`."""

    path: str
    answer: ExecutionAnswer
    records: list[EventRecord]
    children: "dict[str, Told]"


class Answer(msgspec.Struct):
    """What came of it: the tree and the counts, or the error that stopped it."""

    tree: Told | None = None
    commits: int = 0
    calls: int = 0
    error: dict[str, Any] | None = None


class Mortal:
    """Counts commits and calls, writes the facts down, and kills the process at its point."""

    def __init__(self, errand: Errand, facts: Facts) -> None:
        self._point = (errand.moment, errand.number)
        self._facts = facts
        self.commits = 0
        self.calls = 0

    def _strike(self, moment: str, number: int) -> None:
        if self._point == (moment, number):
            os.kill(os.getpid(), signal.SIGKILL)

    def committing(self) -> int:
        """The number of a commit that is asked for."""
        self.commits += 1
        self._strike("before", self.commits)
        return self.commits

    def committed(self, commit: Commit, number: int) -> None:
        """It is on disk, and nothing that follows from it has begun."""
        for step, kind in outcomes(commit):
            self._facts.tell(Outcome(commit.execution_id, step, kind))
        self._strike("after", number)

    def began(self, attempt: ToolAttempt) -> None:
        """A function is about to run."""
        a = attempt
        self._facts.tell(Began(a.agent, a.tool, a.execution_id, a.step, a.epoch, a.key, a.arguments))

    def ended(self, attempt: ToolAttempt) -> None:
        """It has returned, and its result is not handed in."""
        error = None if attempt.error is None else repr(attempt.error)
        self._facts.tell(Ended(attempt.execution_id, attempt.step, attempt.epoch, error))
        self.calls += 1
        self._strike("effect", self.calls)

    def asking(self, request: ModelRequest) -> None:
        """A model is asked."""
        self._facts.tell(Asking(request.execution_id, request.step))

    def took(self, speaker: str, request: ModelRequest, number: int) -> None:
        """A script's entry is used up."""
        self._facts.tell(Took(speaker, request.execution_id, request.step, request.attempt, number))


class _MortalJournal:
    """`Journal` and `Catalog` on disk, with each commit watched."""

    def __init__(self, disk: SqliteJournal, mortal: Mortal, news: asyncio.Event) -> None:
        self._disk = disk
        self._mortal = mortal
        self._news = news

    def commit(self, commit: Commit, done: Callable[[Any], None]) -> None:
        number = self._mortal.committing()

        def written(outcome: StoredExecution | PerdureError | None) -> None:
            if outcome is None:
                self._mortal.committed(commit, number)
            done(outcome)
            if commit.approvals or commit.status in _NEWS:
                self._news.set()

        self._disk.commit(commit, written)

    def __getattr__(self, name: str) -> Any:
        """The verbs that read, and those of the catalog."""
        return getattr(self._disk, name)


class ChildPlace(JournalSpeakers):
    """Server and worker in this process, on real time and a real disk; a `runs.Place`."""

    def __init__(
        self, data_dir: Path, models: Models, agent: Agent, functions: Mapping[str, Served], mortal: Mortal
    ) -> None:
        self.clock = SystemClock()
        self.news = asyncio.Event()
        data_dir.mkdir(mode=0o700, exist_ok=True)
        secrets = open_secrets(data_dir, self.clock)
        self.disk = SqliteJournal(data_dir, self.clock)
        journal: Any = _MortalJournal(self.disk, mortal, self.news)
        self._app: App = assemble(journal, models, self.clock, secrets, lease_ms=LEASE_MS)
        self._agent = agent
        self._functions = functions
        self.api = self._client()
        self._worker = Worker(self._client(), {}, self.clock)

    def _client(self) -> ApiClient:
        transport = InProcessTransport(self._serve, asyncio.get_running_loop())
        return ApiClient(transport, self.clock, api_key=self._app.api_key)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app.asgi(scope, receive, send)

    async def open(self) -> None:
        """Take up what the journal has, and serve the functions."""
        await self._app.engine.open()
        self._worker.serve(self._functions, metadata_of(self._agent), dependencies_of(self._agent))
        self._worker.start()

    async def close(self) -> None:
        """End in good order."""
        await self._worker.stop(0)
        await self._app.close()


async def _run(errand: Errand, home: Path) -> Answer:
    agent = load_agent(errand.agent)
    facts = Facts(home / FACTS)
    mortal = Mortal(errand, facts)
    models = _models(errand, agent, facts, mortal)
    ledger = Ledger(began=mortal.began, ended=mortal.ended)
    functions = watched_functions(agent, errand.tools.get(), ledger)
    place = ChildPlace(home / DATA, models, agent, functions, mortal)
    models.speakers = place
    drive = Drive(agent, place, errand.approve.get(), look_s=LOOK_S)
    call = Call(errand.prompt, context=errand.context, timeout=errand.timeout, messages=errand.messages)
    tree = await drive.run(call)
    return Answer(_told(tree), mortal.commits, mortal.calls)


def _models(errand: Errand, agent: Agent, facts: Facts, mortal: Mortal) -> ScriptedModels:
    models = models_of(errand.script.get(), errand.model.get(), agent.name)
    for fact in facts.read():
        if isinstance(fact, Took):
            models.remember(fact.speaker, fact.execution_id, fact.step, fact.attempt, fact.number)
    models.watch, models.took = mortal.asking, mortal.took
    return models


def _told(node: Node) -> Told:
    children = {step: _told(child) for step, child in node.children.items()}
    return Told(node.path, node.answer, node.records, children)


def main(folder: str) -> None:
    """Do the errand in *folder*, and leave the answer there."""
    home = Path(folder)
    errand = msgspec.json.decode((home / ERRAND).read_bytes(), type=Errand)
    try:
        answer = asyncio.run(_run(errand, home))
    except PerdureError as error:
        answer = Answer(error=error.to_wire())
    (home / ANSWER).write_bytes(msgspec.json.encode(answer))


if __name__ == "__main__":
    main(sys.argv[1])
