"""Fifty executions while a worker, the server, the client, or all three are killed with SIGKILL at random times."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.story.programs.cast import errand_output
from tests.story.stage import Process, Stage

RUNS = 50
AT_A_TIME = 17
LEASE_MS = 600
SEED = int(os.environ.get("PERDURE_STORY_SEED", "20260722"))
VICTIMS = (("worker",), ("server",), ("client",), ("worker", "server", "client"))
STRIKES = 18  # then what is left may end in peace
LONGEST_SILENCE_S = 90.0  # a slow machine takes its time; where nothing happens for so long, something hangs


class Chaos:
    """Keeps worker, server and client alive, except when it kills them. One seed decides whom and when.

    A strike falls at a random moment after a random number of signs of life (effects, starts and ends that were
    reported), so that it hits work on a slow machine, too, and not only processes that are just starting. For the same
    reason there is no limit of the whole, only one of the time without a sign of life.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        # Each kind of strike once, in some order, and then any.
        self.plan = self.random.sample(VICTIMS, len(VICTIMS))
        self.plan += self.random.choices(VICTIMS, k=STRIKES - len(VICTIMS))
        self.kills: list[tuple[str, ...]] = []
        self.alive: dict[str, Process] = {}
        self.report = stage.directory / "errands.out"
        self.report.touch()
        self._signs = 0
        self._sign_at = time.monotonic()

    def start(self, role: str) -> None:
        """Start a process, or start it again."""
        if role == "server":
            self.alive[role] = self.stage.spawn_server()
        elif role == "worker":
            self.alive[role] = self.stage.worker("errand")
        else:
            self.alive[role] = self.stage.program("errands", str(RUNS), str(AT_A_TIME), str(self.report))

    def run(self) -> None:
        """Kill, again and again, until the client has ended well."""
        self.start("server")
        self.stage.until_server_answers()
        for role in ("worker", "client"):
            self.start(role)
        for victims in self.plan:
            self._await(self._signs_of_life() + self.random.randint(1, 8))
            if self._done():
                return
            time.sleep(self.random.uniform(0, 0.4))
            self._strike(victims)
        self._await(None)

    def _done(self) -> bool:
        return self.alive["client"].exit_code == 0

    def _keep_alive(self) -> None:
        """Start again who ended by himself: a client that finds no server gives up, and its user starts it again."""
        for role in ("worker", "client"):
            if self.alive[role].exit_code not in (None, 0):
                self.start(role)

    def _signs_of_life(self) -> int:
        signs = len(self.stage.ledger()) + self.report.read_bytes().count(b"\n")
        now = time.monotonic()
        if signs > self._signs:
            self._signs, self._sign_at = signs, now
        silence_s = now - self._sign_at
        assert silence_s < LONGEST_SILENCE_S, (
            f"nothing happens after {len(self.kills)} strikes: {self._unfinished()}"
        )
        return signs

    def _unfinished(self) -> list[str]:
        """What the server says of the executions that have not ended."""
        found = json.loads(self.stage.get("/api/v1/executions?limit=200"))["executions"]
        return [f"{e['execution_id']} {e['status']}" for e in found if e["status"] != "completed"]

    def _await(self, enough: int | None) -> None:
        """Wait for the client's good end, or for so many signs of life."""
        while not self._done():
            signs = self._signs_of_life()
            if enough is not None and signs >= enough:
                return
            self._keep_alive()
            time.sleep(0.05)

    def _strike(self, victims: tuple[str, ...]) -> None:
        if self._done():
            return
        for role in victims:
            self.alive[role].kill()
        self.kills.append(victims)
        for role in victims:
            self.start(role)
        if "server" in victims:
            self.stage.until_server_answers()


def ends(lines: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """What the client reported of each errand; each is one execution, however often it was started."""
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        known = found.setdefault(line["parcel"], line)
        assert known["execution"] == line["execution"], f"one errand, two executions: {known} {line}"
        known.update(line)
    return found


@pytest.mark.timeout(900)
def test_fifty_executions_while_everything_is_killed_at_random(tmp_path):
    """All end with the right answer, nothing recorded takes effect again, and every key stays what it was."""
    print(f"PERDURE_STORY_SEED={SEED}")
    with Stage(tmp_path / "stage", LEASE_MS) as stage:
        chaos = Chaos(stage, SEED)
        began = time.monotonic()
        try:
            chaos.run()
        finally:
            wall_s = time.monotonic() - began
            print(f"{wall_s:.1f} s, {len(chaos.kills)} strikes: {dict(Counter(chaos.kills))}")
        found = ends(chaos.alive["client"].lines())
        stage.acked = [("start", e["execution"]) for e in found.values()]
        stage.stop_server()
        kinds = asyncio.run(stage.checked())
        effects = Counter(e["step"] for e in stage.ledger())
        print(f"{len(stage.ledger())} effects for {RUNS * 3} calls; kinds: {sorted(kinds)}")

    assert sorted(found) == list(range(RUNS))
    wrong = {i: e for i, e in found.items() if (e["status"], e["output"]) != ("completed", errand_output(i))}
    assert not wrong
    assert all(effects.values())
    assert {v for victims in chaos.kills for v in victims} == {"worker", "server", "client"}
    assert "tool_lost" in kinds, "no worker was killed in mid-tool: the story did not tell what it should"
    assert "model_lost" in kinds, "no server was killed in mid-answer: the story did not tell what it should"
