"""`docs/machines.md` says what the tables say."""

import subprocess
import sys
from pathlib import Path

from perdure.core.machines.teams.tables import TABLES
from perdure.core.machines.turn_state import PHASES, STEPS

DOCS = Path(__file__).resolve().parents[3] / "docs"


def test_the_page_of_the_machines_is_fresh():
    """The page is what the generator writes today; when it is not, run `python docs/make_machines.py`."""
    checked = subprocess.run([sys.executable, str(DOCS / "make_machines.py"), "--check"], check=False)
    assert checked.returncode == 0


def test_every_phase_status_and_event_is_on_the_page():
    """No row of a table is missing from the page."""
    text = (DOCS / "machines.md").read_text(encoding="utf-8")
    kinds = {kind.__struct_config__.tag for _, kind in (*PHASES, *STEPS)}
    names = (
        {before for before, _ in PHASES} | set(PHASES.values()) | {before for before, _ in STEPS if before}
    )
    assert {name for name in kinds | names if f"`{name}`" not in text} == set()
    different = {frozenset(table.items()) for table in TABLES.values()}
    assert text.count("stateDiagram-v2") == 2 + len(different)


def test_every_row_of_a_team_is_on_the_page():
    """Each phase and event of each strategy's table is named."""
    text = (DOCS / "machines.md").read_text(encoding="utf-8").partition("## The team machines")[2]
    for table in TABLES.values():
        for (before, kind), after in table.items():
            for name in (before, kind.__struct_config__.tag, after):
                assert f"`{name}`" in text
