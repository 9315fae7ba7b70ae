"""Is the net fine enough? Bugs are planted in a copy of the engine, one at a time, and the suites must find each.

`python -m tests.simulation.planted` runs them all and prints the table of `docs/reliability.md`. A planted bug is a
few lines of the real source put differently; `test_planted_bugs` notices when the source has moved on.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
SEEDS = 300


class Change(NamedTuple):
    """In the file (below `src/perdure`), `old` becomes `new`."""

    file: str
    old: str
    new: str


class Bug(NamedTuple):
    """A planted bug: its name, the rule that it breaks, and the changes that make it."""

    name: str
    breaks: str
    changes: tuple[Change, ...]


DRIVER = "engine/driver.py"
GATEWAY = "engine/task_gateway.py"
RESIDENCY = "engine/residency.py"
TURN = "core/machines/turn.py"
STATE = "core/machines/turn_state.py"
TABLES = "core/machines/turn_tables.py"
CALLS = "core/machines/tool_calls.py"
_SUBMIT = "            self._journal.commit(commit, partial(self._committed, resident, applied, commit))\n"

CONTROL = Bug("none: the engine as it is", "", ())

BUGS: tuple[Bug, ...] = (
    Bug(
        "callers are answered before the commit",
        "E2, I1",
        (Change(DRIVER, _SUBMIT, "            self._answer(resident, applied.taken)\n" + _SUBMIT),),
    ),
    Bug(
        "effects begin before the commit",
        "E1",
        (
            Change(
                DRIVER,
                _SUBMIT,
                "            for effect in applied.effects:\n"
                "                self.perform(resident, effect)\n" + _SUBMIT,
            ),
        ),
    ),
    Bug(
        "results of old epochs are taken",
        "E3, I4",
        (
            Change(CALLS, 'step.status != "leased" or step.attempt != epoch', 'step.status != "leased"'),
            Change(STATE, "step is None or step.attempt != event.epoch:", "step is None:"),
        ),
    ),
    Bug(
        "a new idempotency key for every attempt",
        "E6",
        (
            Change(
                GATEWAY,
                "call.key or ids.idempotency_key(resident.execution_id, step)",
                'ids.idempotency_key(resident.execution_id, f"{step}#{epoch}")',
            ),
        ),
    ),
    Bug(
        "the hash of an approval is not compared",
        "I7",
        (Change(CALLS, "asked != step.effect_hash or item.effect_hash not in (None, asked)", "False"),),
    ),
    Bug(
        "edited arguments are recorded, and the first ones run",
        "I7",
        (
            Change(
                CALLS,
                '_begin(draft, step_id, step.call_id or "", tool, arguments)',
                '_begin(draft, step_id, step.call_id or "", tool, item.asked)',
            ),
        ),
    ),
    Bug(
        "a rejected call runs",
        "I7",
        (Change(CALLS, '    if item.decision != "approved":\n        return\n', ""),),
    ),
    Bug(
        "a stream leaves out the last event of a commit",
        "I10",
        (
            Change(
                "engine/streams.py",
                "            for record in records:\n                reader.push(record)",
                "            for record in records[:-1] or records:\n                reader.push(record)",
            ),
        ),
    ),
    Bug(
        "a stream takes events that do not follow",
        "I10",
        (Change("engine/streams.py", "if item.seq > seq + 1:", "if False:"),),
    ),
    Bug(
        "a restart forgets who holds a lease",
        "E4",
        (
            Change(
                "engine/engine.py",
                "self._gateway.leases.grant((row.execution_id, step_id)",
                "(lambda *_: None)((row.execution_id, step_id)",
            ),
        ),
    ),
    Bug(
        "a restart forgets model calls in flight",
        "I11",
        (Change("engine/engine.py", "        if asking:\n", "        if asking and not state.steps:\n"),),
    ),
    Bug(
        "a restart offers leased steps at once",
        "E4, E7",
        (
            Change(
                "engine/engine.py",
                'elif step.status == "ready" and step.due_ms is None and state.phase == "active":',
                'if step.status in ("ready", "leased") and step.due_ms is None and state.phase == "active":',
            ),
            Change(
                CALLS,
                'if step is None or step.status != "ready"',
                'if step is None or step.status not in ("ready", "leased")',
            ),
            Change(
                TABLES,
                '    ("ready", ev.ToolStarted): ("leased",),\n',
                '    ("ready", ev.ToolStarted): ("leased",),\n    ("leased", ev.ToolStarted): ("leased",),\n',
            ),
        ),
    ),
    Bug(
        "answers that come while the disk is full are dropped",
        "E10, I11",
        (
            Change(
                DRIVER,
                "            resident.mailbox.extend((item, None) for item, done in waiting if done is None)\n            self.listeners.reload(resident, outcome)",
                "            self.listeners.reload(resident, outcome)",
            ),
        ),
    ),
    Bug(
        "an answer that waits for its execution to be read is not seen by whoever begins the call anew",
        "E4",
        (
            Change(
                RESIDENCY,
                "        self._kept.setdefault(execution_id, []).append((item, None))\n"
                "        if self.fault is None:\n"
                "            self._spawn(self._give_again(execution_id))\n",
                "        async def later() -> None:\n"
                "            self._driver.post(await self.get(execution_id), item, None)\n\n"
                "        self._spawn(later())\n",
            ),
        ),
    ),
    Bug(
        "an execution that somebody has read after an outage is begun anew in mid-commit",
        "E4",
        (
            Change(
                RESIDENCY,
                "            self._give_kept(resident)\n\n    async def _load(",
                "            pass\n\n    async def _load(",
            ),
            Change(
                RESIDENCY,
                "            await self._read(execution_id)\n        except",
                "            self._give_kept(await self.get(execution_id))\n        except",
            ),
        ),
    ),
    Bug(
        "the end is not final",
        "E5, I3",
        (
            Change(
                TURN,
                "    if state.over:\n        if isinstance(item,",
                '    if state.phase == "failed":\n        if isinstance(item,',
            ),
            Change(
                TABLES,
                '    **{(phase, ev.ExecutionCancelled): "cancelled" for phase in _RUNNING},',
                '    **{(phase, ev.ExecutionCancelled): "cancelled" for phase in (*_RUNNING, "completed")},',
            ),
        ),
    ),
    Bug(
        "timers fire half a second early",
        "I8",
        (
            Change(
                "engine/timers.py",
                "self._journal.due(self._clock.now_ms(),",
                "self._journal.due(self._clock.now_ms() + 500,",
            ),
            Change(
                "engine/timers.py",
                "(self._next - self._clock.now_ms()) / 1000)",
                "(self._next - 500 - self._clock.now_ms()) / 1000)",
            ),
            Change(
                "core/machines/attempts.py",
                "step.due_ms > draft.now_ms:",
                "step.due_ms > draft.now_ms + 500:",
            ),
        ),
    ),
    Bug(
        "a timer that is set while the journal is asked for the next one is missed",
        "I8",
        (
            Change(
                "engine/timers.py",
                "self._next = min((due for due in (stored, self._next) if due is not None), default=None)",
                "self._next = stored",
            ),
        ),
    ),
    Bug(
        "a poll that hangs up takes its offers with it",
        "I11",
        (
            Change(
                GATEWAY,
                "                if key not in asked:\n                    self._put_back(queue, key)\n",
                "                pass\n",
            ),
        ),
    ),
    Bug(
        "late answers of earlier attempts are taken",
        "E3",
        (
            Change(TURN, 'step.status == "asking" and step.attempt == attempt', 'step.status == "asking"'),
            Change(
                "engine/model_calls.py",
                "            running.task.cancel()\n        # Put",
                "            pass\n        # Put",
            ),
            Change(
                "engine/model_calls.py",
                "        if running is not None:\n            running.task.cancel()\n\n",
                "        if running is not None:\n            pass\n\n",
            ),
        ),
    ),
    Bug(
        "leases never run out",
        "E7, I11",
        (Change("engine/leases.py", "if lease.expires <= now]", "if lease.expires <= now - 1e9]"),),
    ),
    Bug(
        "anybody's heartbeat keeps a lease",
        "E3",
        (
            Change(
                "engine/leases.py",
                "lease is None or lease.worker != worker or lease.epoch != ref.epoch",
                "lease is None",
            ),
        ),
    ),
    Bug(
        "a value that cannot be stored counts as an outage",
        "E10",
        (Change(DRIVER, 'frozenset({"E0501", "E0506"})', 'frozenset({"E0501", "E0506", "E0508"})'),),
    ),
    Bug(
        "whoever shares a commit with a bad value is refused with it",
        "E10",
        (
            Change(
                DRIVER, "        one = len(taken) == 1 or resident.new is not None\n", "        one = True\n"
            ),
        ),
    ),
    Bug(
        "nothing is ever quarantined",
        "E10",
        (
            Change(DRIVER, "        if resident.faults < limit:\n", "        if resident.faults < 10**9:\n"),
            Change(DRIVER, "        if limit <= resident.faults < 2 * limit:\n", "        if False:\n"),
            Change(
                DRIVER,
                "        if resident.faults < 2 * limit:\n            self.listeners.reload",
                "        if True:\n            self.listeners.reload",
            ),
        ),
    ),
    Bug(
        "what waits stays in memory",
        "waiting costs nothing",
        (Change(DRIVER, "if resident.status not in _STAYS and resident.idle:", "if False:"),),
    ),
    Bug(
        "an execution is let go of in mid-commit",
        "I9, E10",
        (
            Change("engine/resident.py", "return not self.committing and not self.mailbox", "return True"),
            Change(RESIDENCY, "and resident.touched < limit and not _in_flight(resident)", ""),
        ),
    ),
    Bug(
        "a cancelled execution's calls and tasks go on",
        "E9",
        (
            Change(
                TURN,
                "    draft.end(ev.ExecutionCancelled(item.by, item.reason))",
                "    draft.record(ev.ExecutionCancelled(item.by, item.reason))",
            ),
        ),
    ),
    Bug(
        "what may have taken effect runs again without asking",
        "E7",
        (Change(CALLS, '    if tool.on_unknown == "ask":\n', '    if tool.on_unknown == "never":\n'),),
    ),
    Bug(
        "tasks are given out while an execution is paused",
        "pause",
        (
            Change(
                CALLS,
                ' or draft.state.phase != "active":\n        return\n    draft.record(ev.ToolStarted',
                ":\n        return\n    draft.record(ev.ToolStarted",
            ),
            Change(
                TURN,
                "    draft.record(ev.ExecutionPaused(item.by, item.reason), *offered, *told)",
                "    draft.record(ev.ExecutionPaused(item.by, item.reason), *told)",
            ),
            Change(
                TABLES,
                "    ev.ToolStarted,\n    ev.TimerFired,\n    ev.SessionAwaited,\n    ev.CallsPrefilled,\n)",
                "    ev.TimerFired,\n    ev.SessionAwaited,\n    ev.CallsPrefilled,\n)",
            ),
        ),
    ),
    Bug(
        "results reach the model in the order in which they came in",
        "order of messages",
        (
            Change(
                "core/transcript.py",
                "steps = sorted(self._results, key=_call_number)",
                "steps = list(self._results)",
            ),
        ),
    ),
    Bug(
        "a task that is taken and cancelled in one breath is given out",
        "E9",
        (Change(GATEWAY, "if epoch and self.leases.holds(key, epoch) else None", "if epoch else None"),),
    ),
)


def plant(bug: Bug, where: Path) -> None:
    """Copy the sources to *where* and make the bug's changes.

    Raises:
        ValueError: a change's old text is not there exactly once.
    """
    shutil.copytree(SRC / "perdure", where / "perdure", ignore=shutil.ignore_patterns("__pycache__"))
    for change in bug.changes:
        path = where / "perdure" / change.file
        text = path.read_text(encoding="utf-8")
        if text.count(change.old) != 1:
            raise ValueError(f"{bug.name}: {change.file} has {text.count(change.old)} times {change.old!r}")
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")


def _run(where: Path, *arguments: str) -> tuple[bool, str, float]:
    """Run Python on the planted sources: whether it failed, what it said, and how long it took."""
    environ = {**os.environ, "PYTHONPATH": f"{where}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    except subprocess.TimeoutExpired:
        return True, "it hangs", time.monotonic() - began
    return done.returncode != 0, done.stdout + done.stderr, time.monotonic() - began


def contract(where: Path) -> str:
    """The first test of the contract that fails, or an empty text."""
    failed, said, _ = _run(
        where,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--timeout",
        "60",
        "-p",
        "no:cacheprovider",
        "-k",
        "memory",
        "tests/contract/engine",
    )
    if not failed:
        return ""
    named = re.search(r"(?:FAILED|ERROR) \S+::(\w+)", said)
    return named[1] if named else said.strip().splitlines()[-1][:60]


def simulation(where: Path, *, teams: bool = False) -> str:
    """How many seeds the simulation needed, that of teams or the other one, or an empty text."""
    name = "team_world import simulate_teams as simulate" if teams else "run import simulate"
    code = (
        f"import sys\nfrom tests.simulation.{name}\n"
        f"for seed in range({SEEDS}):\n"
        "    try:\n        simulate(seed)\n"
        "    except BaseException as error:\n        print(seed + 1, type(error).__name__); sys.exit(1)\n"
    )
    failed, said, _ = _run(where, "-c", code)
    if not failed:
        return ""
    return "it hangs" if said == "it hangs" else f"seed {said.split()[0]}"


def main() -> int:
    """Plant every bug; status 1 when one is found by neither suite, or when something is found where there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("only", nargs="*", help="words of the bugs to plant; all of them when none is given")
    words = parser.parse_args().only
    missed = 0
    print("| planted bug | breaks | contract suite | simulation |\n|---|---|---|---|")
    for bug in (CONTROL, *BUGS):
        if words and bug is not CONTROL and not any(word in bug.name for word in words):
            continue
        with tempfile.TemporaryDirectory() as folder:
            plant(bug, Path(folder))
            found = contract(Path(folder)), simulation(Path(folder))
        missed += any(found) if bug is CONTROL else not any(found)
        print(
            f"| {bug.name} | {bug.breaks} | {found[0] or 'not found'} | {found[1] or 'not found'} |",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
