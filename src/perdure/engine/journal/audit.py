"""Reads everything and says what is wrong: for `doctor`, after a restore, and for the tests of damaged files.

The checks of each read see what is damaged in the rows that they meet. A damaged index can hide a row from a
question; only a check of the whole file finds that.
"""

from collections.abc import Callable

import apsw

from perdure.core.errors import JournalError
from perdure.engine.journal import catalog, reader

_MOST_FINDINGS = 100


def audit(db: apsw.Connection) -> list[str]:
    """What is wrong, one line each, at most 100; empty: the file, all chains, bodies and checksums are sound."""
    findings = [str(line) for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})")]
    if findings != ["ok"]:
        return findings
    findings = []
    for check, question in _CHECKS:
        for (name,) in db.execute(question).fetchall():
            try:
                check(db, str(name))
            except JournalError as error:
                findings.append(f"{error.where}: {error.why}")
            if len(findings) >= _MOST_FINDINGS:
                return findings
    return findings


def _check_execution(db: apsw.Connection, execution_id: str) -> None:
    reader.load(db, execution_id)
    reader.events(db, execution_id, 0, None)


_CHECKS: tuple[tuple[Callable[[apsw.Connection, str], object], str], ...] = (
    (_check_execution, "SELECT id FROM executions ORDER BY xid"),
    (reader.approval, "SELECT approval_id FROM approvals ORDER BY rowid"),
    (catalog.get_plan, "SELECT hash FROM plans ORDER BY rowid"),
)
