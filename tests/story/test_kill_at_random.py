"""Fifty executions while a worker, the server, the client, or all three are killed with SIGKILL at random times."""

import asyncio
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
STRIKES = 24  # then what is left may end in peace
LONGEST_S = 150.0


class Chaos:
    """Keeps worker, server and client alive, except when it kills them. One seed decides whom and when."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.kills: list[tuple[str, ...]] = []
        self.alive: dict[str, Process] = {}

    def start(self, role: str) -> None:
        """Start a process, or start it again."""
        if role == "server":
            self.alive[role] = self.stage.spawn_server()
        elif role == "worker":
            self.alive[role] = self.stage.worker("errand")
        else:
            report = self.stage.directory / "errands.out"
            report.touch()
            self.alive[role] = self.stage.program("errands", str(RUNS), str(AT_A_TIME), str(report))

    def run(self) -> None:
        """Kill, again and again, until the client has ended well."""
        self.start("server")
        self.stage.until_server_answers()
        for role in ("worker", "client"):
            self.start(role)
        give_up_at = time.monotonic() + LONGEST_S
        while (code := self.alive["client"].exit_code) != 0:
            assert time.monotonic() < give_up_at, (
                f"not done after {LONGEST_S:g} s and {len(self.kills)} kills"
            )
            if code is not None:  # it gave up on a server that was away for long: a user starts it again
                self.start("client")
            if self.alive["worker"].exit_code is not None:
                self.start("worker")
            if len(self.kills) < STRIKES:
                self._strike(self.random.choice(VICTIMS), self.random.uniform(0.1, 1.0))
            else:
                time.sleep(0.05)

    def _strike(self, victims: tuple[str, ...], after_s: float) -> None:
        time.sleep(after_s)
        if self.alive["client"].exit_code == 0:
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


@pytest.mark.timeout(240)
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
