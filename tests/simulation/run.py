"""One simulated run of one seed: a time of faults, then calm, then judgement."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from perdure.engine.ports import ExecutionFilter
from perdure.testing.virtual import VirtualLoop
from tests.simulation import people, workers
from tests.simulation.judge import judge, unfinished
from tests.simulation.world import World

CHAOS_S = 45.0

Actor = Callable[[World], Coroutine[Any, Any, None]]


class Family(NamedTuple):
    """What the worlds of one family have in common.

    Attributes:
        command: runs one of its seeds, with `--seed N` behind it.
        clients: how many a world may have.
        calm_s: how long, in virtual seconds, everything may take to end once the faults have stopped.
        least_chaos: the share of CHAOS_S that the time of faults takes at least.
    """

    command: str
    clients: tuple[int, ...]
    calm_s: float
    least_chaos: float
    people: tuple[Actor, ...]
    judge: Callable[[World], Awaitable[str]]


PLAIN = Family("python -m tests.simulation", (1, 3, 6, 10), 900.0, 0.0, (people.meddle, people.look), judge)


class Outcome(NamedTuple):
    """What a run did: the digest of its journal, and how much happened."""

    digest: str
    executions: int
    events: int
    crashes: int
    outages: int
    kinds: frozenset[str]
    refusals: dict[str, int]


class SimulationError(AssertionError):
    """A seed that failed; the message says how to run it again."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Faults are meant here: the engine's log of them is not wanted."""
    log = logging.getLogger("perdure.engine")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def simulate(seed: int) -> Outcome:
    """Run a seed of plain agents; see `run_world`."""
    return run_world(World(seed, VirtualLoop()), PLAIN)


def run_world(world: World, family: Family) -> Outcome:
    """Run a world to its judgement.

    Raises:
        SimulationError: an invariant does not hold, or something does not end.
    """
    loop, seed = world.loop, world.seed
    try:
        with _quiet():
            outcome = loop.run_until_complete(_live(world, family))
            loop.run_until_complete(asyncio.sleep(1))
        assert not loop.troubles, loop.troubles
    except Exception as error:
        raise SimulationError(
            f"seed {seed} fails: {type(error).__name__}: {error}\n  {family.command} --seed {seed}"
        ) from error
    else:
        return outcome
    finally:
        with _quiet():
            loop.finish()


async def _live(world: World, family: Family) -> Outcome:
    await world.launch()
    rng = world.rng
    keys = [f"k{i}" for i in range(rng.choice(family.clients))]
    async with _crowd(world, family) as watch:
        clients = [watch(people.start_and_follow(world, key)) for key in keys]
        disturbing = asyncio.ensure_future(world.disturb())
        await asyncio.sleep((family.least_chaos + rng.random() * (1 - family.least_chaos)) * CHAOS_S)
        world.chaos = False
        await disturbing
        await _calm(world, family, clients, watch)
    await _empty(world)
    return await _outcome(world, family)


class _Crowd:
    """Actors whose failure is the run's failure."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def __call__(self, actor: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(actor)
        self.tasks.append(task)
        return task

    def check(self) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()


@contextlib.asynccontextmanager
async def _crowd(world: World, family: Family) -> AsyncIterator[_Crowd]:
    watch = _Crowd()
    for number in range(world.rng.choice((1, 2, 4))):
        watch(workers.work(world, f"w{number}"))
    watch(people.decide(world, "ann"))
    watch(people.decide(world, "bob"))
    for actor in family.people:
        watch(actor(world))
    try:
        yield watch
        watch.check()
    finally:
        for task in watch.tasks:
            task.cancel()
        await asyncio.gather(*watch.tasks, return_exceptions=True)


async def _calm(world: World, family: Family, clients: list[asyncio.Task[None]], watch: _Crowd) -> None:
    """I11: once the faults stop, everything comes to its end, and every client has seen it."""
    watch(people.set_free(world))
    deadline = world.loop.time() + family.calm_s
    while not all(client.done() for client in clients):
        watch.check()
        if world.loop.time() > deadline:
            raise AssertionError(f"I11: not ended: {await unfinished(world)}, {len(world.started)} started")
        await asyncio.sleep(1)
    watch.check()


async def _empty(world: World) -> None:
    """When all has ended nothing is kept: no execution in memory, no lease, no offer, no call."""
    await asyncio.sleep(10)
    counts = world.engine.statistics()
    held = ("executions_resident", "leases", "tasks_waiting", "model_calls_running", "streams")
    assert not any(counts[name] for name in held), {name: counts[name] for name in held}
    await world.stop()
    await world.disk.open()


async def _outcome(world: World, family: Family) -> Outcome:
    digest = await family.judge(world)
    ids = [row.execution_id for row in await world.disk.find(ExecutionFilter(limit=100_000))]
    histories = [await world.disk.events(i) for i in sorted(ids)]
    events = [r.event for history in histories for r in history]
    return Outcome(
        digest,
        len(histories),
        len(events),
        world.crashes,
        world.outages,
        frozenset(str(e.__struct_config__.tag) for e in events),
        world.refusals,
    )
