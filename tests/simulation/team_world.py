"""Worlds of teams: trees of executions under every fault of `world`, and people who meddle at every level of a tree."""

import asyncio
from typing import Any

from perdure.compiler.compile import compile_definition
from perdure.core import events as ev
from perdure.core.ids import content_hash
from perdure.core.messages import user
from perdure.core.plan import Bundle
from perdure.engine.ports import (
    TERMINAL_STATUSES,
    Commit,
    ExecutionFilter,
    StartRequest,
    Task,
    task_queue_name,
)
from perdure.testing.virtual import VirtualLoop
from tests.simulation import people
from tests.simulation.run import Family, Outcome, run_world
from tests.simulation.team_judge import judge_teams
from tests.simulation.teams import TeamModel, decided, random_team
from tests.simulation.world import World

STEERED = {"pause": "execution_paused", "cancel": "execution_cancelled", "stop": "stop_requested"}
VERBS = ("pause", "pause", "resume", "resume", "resume", "say", "say", "cancel", "stop")
SESSIONS = ("s1", "s2")
# What the executions below have to follow.
MOMENTS = (*ev.TERMINAL, ev.ExecutionPaused, ev.ExecutionResumed, ev.StopRequested)

LIVE = (
    "running",
    "waiting:worker",
    "waiting:child",
    "waiting:approval",
    "waiting:timer",
    "waiting:session",
    "paused",
    "quarantined",
)


class TeamWorld(World):
    """Everything of one seed, with teams in the place of plain agents."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        super().__init__(seed, loop)
        self.model = TeamModel(self)
        self.teams: list[Bundle] = [compile_definition(random_team(self.rng)) for _ in range(2)]
        plans = {plan.agent: plan for team in self.teams for plan in team.all_plans}
        self.choices = {
            name: tuple(m.name for m in plan.team.members) for name, plan in plans.items() if plan.team
        }
        found = {
            task_queue_name(agent, name)
            for team in self.teams
            for plan in team.all_plans
            for agent, name in plan.functions
        }
        self.queues = sorted(found)
        self.spread_s = 6.0
        self.rate["meddling"] = self.rng.choice((0.0, 0.2, 0.8))
        self.rate["aimed"] = self.rng.choice((0.0, 0.5, 0.9))
        self.moments: asyncio.Queue[Commit] = asyncio.Queue()
        self._aiming = False

    def request(self, key: str) -> StartRequest:
        team = self.rng.choice(self.teams)
        return StartRequest(
            team.plan,
            content_hash(team.plan),
            user(f"Do {key}."),
            "client",
            idempotency_key=key,
            session_id=self.rng.choice((None, None, *SESSIONS)),
            members=team.members,
        )

    def applied(self, commit: Commit) -> None:
        if any(isinstance(event, MOMENTS) for event in commit.events):
            self.moments.put_nowait(commit)

    async def disturb(self) -> None:
        await super().disturb()
        while self._aiming:
            await asyncio.sleep(0.1)

    async def aim(self) -> None:
        """Strike where a tree is being steered or its parent has just ended, before everybody below it knows."""
        while True:
            commit = await self.moments.get()
            kinds = [kind for kind in ("crash", "outage") if self.rate[kind]]
            if not kinds or not self.up or not self.happens("aimed"):
                continue
            ends = isinstance(commit.events[-1], ev.TERMINAL)
            if ends and not await self.disk.orphans():
                continue  # it ends when nobody is left below it
            if not ends and self.rng.random() < 0.7:
                continue
            self._aiming = True
            await asyncio.sleep(self.rng.random() * self.rng.choice((0.0, 0.003, 0.02, 0.3)))
            if self.chaos:
                await self.strike(self.rng.choice(kinds))
            self._aiming = False
            while not self.moments.empty():
                self.moments.get_nowait()

    def decided(self, task: Task) -> Any:
        return decided(self.rng, task.tool, self.choices.get(task.agent, ()), chaos=self.chaos)


async def meddle(world: World) -> None:
    """A person who pauses, resumes, stops, cancels and talks to any execution of a tree."""
    rng = world.rng
    number = 0
    while True:
        await people.rest(world, 2)
        if not world.started or not world.happens("meddling"):
            continue
        try:
            rows = await world.executions("find", ExecutionFilter(status=LIVE, limit=50))
        except Exception as error:
            world.expect(error)
            continue
        if not rows:
            continue
        parents = [row for row in rows if row.status == "waiting:child"]
        row = rng.choice(parents if parents and rng.random() < 0.4 else rows)
        number += 1
        await _act(world, row.execution_id, rng.choice(VERBS), number)


async def _act(world: World, execution_id: str, verb: str, number: int) -> None:
    given: tuple[Any, ...] = ("meddler", "for a test")
    if verb == "resume":
        given = ("meddler",)
    elif verb == "say":
        mode = world.rng.choice(("enqueue", "interrupt"))
        given = (f"m{number}", user(f"Message {number}."), "meddler", mode)
    try:
        await world.executions(verb, execution_id, *given)
    except Exception as error:
        world.expect(error, "E0402")
    else:
        if verb in STEERED:
            world.acked.append((verb, (execution_id, STEERED[verb])))
        elif verb == "say":
            world.acked.append((verb, (execution_id, "message_received")))


async def aim(world: World) -> None:
    """Faults at the worst moments; see `TeamWorld.aim`."""
    assert isinstance(world, TeamWorld)
    await world.aim()


async def look(world: World) -> None:
    """A client that looks at trees: whatever it is shown makes sense."""
    while True:
        await people.rest(world, 4)
        try:
            for seen in await world.executions("find", ExecutionFilter(limit=5)):
                view = await world.executions("get", seen.execution_id)
                still = (*TERMINAL_STATUSES, "paused", "quarantined")
                assert view.waits or view.status in still, f"{view.execution_id} waits for nothing: {view}"
        except Exception as error:
            world.expect(error)


TEAMS = Family(
    "python -m tests.simulation --teams", (1, 2, 3), 3_000.0, 0.4, (meddle, look, aim), judge_teams
)


def simulate_teams(seed: int) -> Outcome:
    """Run a seed of teams.

    Raises:
        SimulationError: an invariant does not hold, or something does not end.
    """
    return run_world(TeamWorld(seed, VirtualLoop()), TEAMS)
