"""Reads everything and says what is wrong: for `doctor`, after a restore, and for the tests of damaged files.

The checks of each read see what is damaged in the rows that they meet. A damaged index can hide a row from a
question; only a check of the whole file finds that.
"""

import apsw

from perdure.core.errors import JournalError
from perdure.engine.journal import reader

_MOST_FINDINGS = 100


def audit(db: apsw.Connection) -> list[str]:
    """What is wrong, one line each, at most 100; empty: the file, all chains, bodies and checksums are sound."""
    findings = [str(line) for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})")]
    if findings != ["ok"]:
        return findings
    findings = []
    for (execution_id,) in db.execute("SELECT id FROM executions ORDER BY xid"):
        try:
            reader.load(db, execution_id)
            reader.events(db, execution_id, 0, None)
        except JournalError as error:
            findings.append(f"{error.where}: {error.why}")
        if len(findings) >= _MOST_FINDINGS:
            return findings
    for (approval_id,) in db.execute("SELECT approval_id FROM approvals"):
        try:
            reader.approval(db, approval_id)
        except JournalError as error:
            findings.append(f"{error.where}: {error.why}")
    return findings[:_MOST_FINDINGS]
