"""Bugs of teams, planted one at a time as in `planted`, and looked for by the simulation of teams.

`python -m tests.simulation.planted_teams` prints the table of `docs/reliability.md`.
"""

import sys
import tempfile
from pathlib import Path

from tests.simulation.planted import CONTROL, Bug, Change, contract, plant, simulation

CHILDREN = "engine/children.py"

TEAM_BUGS: tuple[Bug, ...] = (
    Bug(
        "a restart does not look what became of a child",
        "I11",
        (
            Change(
                CHILDREN, "        self._spawn(self._look(parent_id, step, child_id))\n", "        return\n"
            ),
        ),
    ),
    Bug(
        "a restart leaves orphans alone",
        "E9",
        (Change(CHILDREN, "for child_id in await self._journal.orphans():", "for child_id in ():"),),
    ),
    Bug(
        "the children of what has ended go on",
        "E9",
        (
            Change(
                CHILDREN,
                '        self._spawn(self._cancel(effect.child_id, "its parent has ended"))\n',
                "        return\n",
            ),
        ),
    ),
    Bug(
        "a child is begun without a look whether it was begun before",
        "E4",
        (
            Change(
                CHILDREN,
                "        if row is not None:\n            await self._take_up(row, parent.execution_id, asked.step)\n            return\n        depth",
                "        depth",
            ),
        ),
    ),
    Bug(
        "a child that an outage kept from beginning is given up",
        "E10",
        (
            Change(
                CHILDREN,
                "                if error.code not in STORAGE_DOWN:\n                    self._refuse(parent, asked, error)\n                    return\n                await asyncio.sleep(_RETRY_S)",
                "                self._refuse(parent, asked, error)\n                return",
            ),
        ),
    ),
    Bug(
        "a cancel that meets an outage is given up",
        "E9, E10",
        (
            Change(
                CHILDREN,
                '                    _log.error("child_not_cancelled", execution=child_id, code=error.code, error=error.what)\n                    return\n                await asyncio.sleep(_RETRY_S)',
                "                    return\n                return",
            ),
        ),
    ),
    Bug(
        "a child's end loses its usage",
        "usage",
        (
            Change(
                "core/machines/children.py",
                "item.finish_reason, item.usage, item.handover",
                "item.finish_reason, draft.state.usage, item.handover",
            ),
        ),
    ),
    Bug(
        "a second end of a child is recorded",
        "E3",
        (
            Change(
                "core/machines/children.py",
                "    if step is None or step.child_id != item.child_id:\n        return False\n",
                "",
            ),
        ),
    ),
    Bug(
        "a child is begun although its parent has ended meanwhile",
        "E9",
        (
            Change(
                CHILDREN,
                "        if self._is_over(parent, asked):\n            return  # the parent was ended while this was read: nobody wants the child any more (E9)\n",
                "",
            ),
            Change(
                CHILDREN,
                '        if self._is_over(parent, asked):\n            await self._cancel(asked.child_id, "its parent has ended")\n',
                "",
            ),
        ),
    ),
    Bug(
        "a child that its parent's pause has paused stays paused over a restart",
        "I11",
        (Change(CHILDREN, "return paused is not None and paused.by == _BY", "return False"),),
    ),
    Bug(
        "a child's failure is told as an answer",
        "E3",
        (
            Change(
                CHILDREN,
                '        return inp.ChildEnded(step, child_id, "failed", usage, error=last.error)',
                '        return inp.ChildEnded(step, child_id, "completed", usage, output="")',
            ),
        ),
    ),
)


def main() -> int:
    """Plant every bug; status 1 when one is found by neither suite, or when something is found where there is none."""
    missed = 0
    print("| planted bug | breaks | contract suite | simulation of teams |\n|---|---|---|---|")
    for bug in (CONTROL, *TEAM_BUGS):
        with tempfile.TemporaryDirectory() as folder:
            plant(bug, Path(folder))
            found = contract(Path(folder)), simulation(Path(folder), teams=True)
        missed += any(found) if bug is CONTROL else not any(found)
        told = [text or "not found" for text in found]
        print(f"| {bug.name} | {bug.breaks} | {told[0]} | {told[1]} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
