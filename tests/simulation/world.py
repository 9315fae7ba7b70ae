"""The simulated world: one journal, server processes that come and go, and what everybody has seen.

`World.call` is the network: a request, or its answer, can be lost on the way. What callers are told is done goes into
`acked`, what tools do into `ledger`; the judge (`judge`) holds both against the journal in the end.
"""

import asyncio
import inspect
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from perdure.core.errors import PerdureError
from perdure.core.messages import user
from perdure.engine.config import EngineConfig
from perdure.engine.engine import Engine
from perdure.engine.journal.memory import MemoryJournal
from perdure.engine.ports import Commit, StartRequest, Task
from perdure.testing.virtual import GoneError, Process, VirtualClock, VirtualLoop
from tests.simulation.model import QUEUES, FickleModel, plans
from tests.simulation.storage import FaultyJournal, Outage

LEASE_MS = 1_500
OUTAGES = frozenset({"E0501", "E0506"})
# Each fault and the highest rate that a world may draw for it; about half of them are absent from any one world.
FAULTS = {
    "lost": 0.1,  # a request or an answer on the network
    "model_error": 0.5,
    "adapter_fault": 0.1,
    "garbage": 0.06,
    "slow": 0.2,
    "cut": 0.2,
    "pauses": 0.5,
    "dies": 0.2,  # a worker, in mid-task
    "zombie": 0.2,  # a worker that goes silent, and reports in spite of it
    "twice": 0.3,  # a result that is handed in twice
    "tool_error": 0.4,
    "bad_result": 0.1,
    "meddling": 0.5,  # people who pause, resume, cancel
    "crash": 1.0,
    "outage": 1.0,
    "jump": 1.0,  # of the wall clock, forwards
}


class World:
    """Everything of one seed."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = loop
        self.clock = VirtualClock(loop, self.rng)
        self.chaos = True
        self.rate = {
            name: self.rng.random() * most if self.rng.random() < 0.5 else 0.0
            for name, most in FAULTS.items()
        }
        self.disk = MemoryJournal()
        self.outage = Outage()
        self.model = FickleModel(self)
        self.plans = plans()
        self.queues = QUEUES
        self.spread_s = 20.0  # within which clients start
        self.slowest_s = self.rng.choice((0.01, 0.2, 2.0))
        self.crashes = 0
        self.outages = 0
        self.started: dict[str, str] = {}  # idempotency key -> id
        self.ledger: list[dict[str, Any]] = []
        self.acked: list[tuple[str, Any]] = []
        self.results: list[tuple[str, str, int]] = []  # execution, step and epoch of acknowledged results
        self.seen: dict[str, list[Any]] = {}  # execution -> what a stream has brought
        self.refusals: Counter[str] = Counter()
        self._process: Process | None = None
        self._engine: Engine | None = None

    def request(self, key: str) -> StartRequest:
        """What a client starts under this key."""
        plan_hash, plan = self.rng.choice(self.plans)
        return StartRequest(plan, plan_hash, user(f"Do {key}."), "client", idempotency_key=key)

    def decided(self, task: Task) -> Any:
        """The result of an agent's function; the agents of this world have none."""
        raise AssertionError(f"{task.tool} is nobody's function")

    # Server processes ----------------------------------------------------------------------------------

    async def launch(self) -> None:
        """Start a server on what the last one left."""
        process = Process()
        await self.disk.close()  # the operating system takes the lock from a dead process
        journal = FaultyJournal(
            self.disk, self.outage, self.rng, self.slowest_s, lambda: process.alive, self.applied
        )
        config = EngineConfig(lease_ms=LEASE_MS)
        engine = Engine(journal, journal, self.model, self.clock, config)
        while True:
            try:
                await process.run(engine.open)
                break
            except PerdureError as error:
                if error.code not in OUTAGES:
                    raise
                await asyncio.sleep(0.5)  # whoever supervises it tries again
                await self.disk.close()
        self._process, self._engine = process, engine

    def crash(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process = self._engine = None
        self.crashes += 1

    async def stop(self) -> None:
        """The last server ends in good order."""
        assert self._process is not None
        assert self._engine is not None
        await self._process.run(self._engine.close)

    @property
    def engine(self) -> Engine:
        """The engine that runs now; GoneError between two servers."""
        if self._engine is None:
            raise GoneError("connection refused")
        return self._engine

    @property
    def up(self) -> bool:
        """Whether a server runs."""
        return self._engine is not None

    async def executions(self, verb: str, *args: Any, **named: Any) -> Any:
        """Call a verb of the port `Executions` over the network; see `call`."""
        return await self.call(lambda engine: getattr(engine.executions, verb)(*args, **named))

    async def tasks(self, verb: str, *args: Any) -> Any:
        """Call a verb of the port `Tasks` over the network; see `call`."""
        return await self.call(lambda engine: getattr(engine.tasks, verb)(*args))

    async def call(self, verb: Callable[[Engine], Any]) -> Any:
        """Call the server over the network.

        Raises:
            GoneError: no server, a server that died, or a lost request or answer: the caller cannot know which.
            PerdureError: the server's own answer.
        """
        await asyncio.sleep(self.rng.random() * 0.01)
        if self.happens("lost"):
            raise GoneError("the request was lost")
        engine, process = self.engine, self._process
        assert process is not None

        async def serve() -> Any:
            answer = verb(engine)
            return await answer if inspect.isawaitable(answer) else answer

        answer = await process.run(serve)
        await asyncio.sleep(self.rng.random() * 0.01)
        if self.happens("lost"):
            raise GoneError("the answer was lost")
        return answer

    def expect(self, error: Exception, *codes: str) -> None:
        """Take note of an error; anything but a lost connection, an outage and *codes* is a failure of the run."""
        if isinstance(error, PerdureError):
            self.refusals[error.code] += 1
            if error.code not in {*OUTAGES, *codes}:
                raise AssertionError(f"an error that nobody asked for: {error}") from error
        elif not isinstance(error, GoneError):
            raise error

    def happens(self, what: str) -> bool:
        """Whether a fault strikes now; never once the faults have stopped."""
        return self.chaos and self.rng.random() < self.rate[what]

    # Disturbances --------------------------------------------------------------------------------------

    async def disturb(self) -> None:
        """Crash, fill the disk and move the clock, each at its own times, while there is chaos."""
        while self.chaos:
            await asyncio.sleep(self.rng.expovariate(0.8))
            kind = self.rng.choice(("crash", "outage", "jump"))
            if self.happens(kind):
                await self.strike(kind)

    async def strike(self, kind: str) -> None:
        """One disturbance, from its beginning to its end; none where one of its kind is under way already."""
        if kind == "crash" and self.up:
            self.crash()
            await asyncio.sleep(self.rng.choice((0.0, 0.1, 1.0, 5.0)))
            await self.launch()
        elif kind == "outage" and not self.outage.full:
            self.outages += 1
            self.outage.full = True
            self.outage.unreadable = self.rng.random() < 0.3
            await asyncio.sleep(self.rng.choice((0.01, 0.5, 4.0)))
            self.outage.full = self.outage.unreadable = False
        elif kind == "jump":
            self.clock.skew_ms += self.rng.choice((50, 3_000))

    def applied(self, commit: Commit) -> None:
        """Called when a commit is in the journal, before anybody is told."""
