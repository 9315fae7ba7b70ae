"""Plans by hash, and which plan an agent's name means now: the verbs and questions of the port `Catalog` as SQL."""

import zlib

import apsw
import msgspec

from perdure.core.plan import Plan
from perdure.engine.journal.rows import corrupt
from perdure.engine.ports import DeployedAgent

_PLAN = msgspec.json.Decoder(Plan)


def put_plan(db: apsw.Connection, plan_hash: str, payload: bytes, now_ms: int) -> None:
    """Store a plan's JSON under its hash, unless it is there."""
    db.execute(
        "INSERT OR IGNORE INTO plans(hash, stored_at_ms, payload, sum) VALUES (?, ?, ?, ?)",
        (plan_hash, now_ms, payload, zlib.crc32(payload)),
    )


def get_plan(db: apsw.Connection, plan_hash: str) -> Plan | None:
    """The plan of this hash.

    Raises:
        JournalError: E0503 its checksum does not match.
    """
    row = db.execute("SELECT payload, sum FROM plans WHERE hash = ?", (plan_hash,)).fetchone()
    if row is None:
        return None
    if zlib.crc32(row[0]) != row[1]:
        raise corrupt(f"plan {plan_hash}", "Its checksum does not match.", plan_hash=plan_hash)
    return _PLAN.decode(row[0])


def deploy(db: apsw.Connection, agent: str, plan_hash: str, now_ms: int) -> int:
    """Make a plan the current one of a name; the version that it has there."""
    row = db.execute(
        "SELECT version, plan_hash FROM deployed WHERE agent = ? ORDER BY version DESC LIMIT 1", (agent,)
    ).fetchone()
    version = 0 if row is None else int(row[0])
    if row is not None and row[1] == plan_hash:
        return version
    db.execute(
        "INSERT INTO deployed(agent, version, plan_hash, deployed_at_ms) VALUES (?, ?, ?, ?)",
        (agent, version + 1, plan_hash, now_ms),
    )
    return version + 1


def deployed(db: apsw.Connection, agent: str | None) -> list[DeployedAgent]:
    """The current plans, sorted by name."""
    # With one max(), the other columns are of the row that has it.
    rows = db.execute(
        "SELECT agent, plan_hash, max(version), deployed_at_ms FROM deployed"
        " WHERE ?1 IS NULL OR agent = ?1 GROUP BY agent ORDER BY agent",
        (agent,),
    )
    return [DeployedAgent(*row) for row in rows]
