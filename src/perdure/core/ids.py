"""Ids, hashes and canonical JSON. Randomness comes in as bytes."""

import hashlib
from typing import Any

import msgspec

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's alphabet: no i, l, o, u
_CANONICAL = msgspec.json.Encoder(order="deterministic", decimal_format="string")


def execution_id(now_ms: int, random: bytes) -> str:
    """A sortable id: 10 characters of time, 16 of randomness (10 bytes), base 32, with the prefix `x`."""
    value = (now_ms << 80) | int.from_bytes(random[:10], "big")
    return "x" + "".join(_BASE32[(value >> shift) & 31] for shift in range(125, -5, -5))


def child_id(now_ms: int, parent: str, step: str) -> str:
    """The id of the child execution of a step: as any execution's, with the parent and the step for the randomness."""
    return execution_id(now_ms, hashlib.sha256(f"child\x00{parent}\x00{step}".encode()).digest())


def draw(execution: str, turn: int, choices: int) -> int:
    """A number from 0 up to *choices*, fair and the same each time: the execution's id is the seed."""
    digest = hashlib.sha256(f"draw\x00{execution}\x00{turn}".encode()).digest()
    return int.from_bytes(digest[:16], "big") % choices


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return _CANONICAL.encode(value)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return hashlib.sha256(_CANONICAL.encode(value)).hexdigest()


def idempotency_key(execution: str, step: str) -> str:
    """The key of a tool call: the same over retries, crashes and resumes, different for each call (E6)."""
    return "ik_" + hashlib.sha256(f"{execution}\x00{step}".encode()).hexdigest()[:40]


def approval_id(execution: str, step: str) -> str:
    """The id of the approval that a step asks for."""
    return "a" + hashlib.sha256(f"approval\x00{execution}\x00{step}".encode()).hexdigest()[:25]


def effect_hash(execution: str, step: str, tool: str, schema: dict[str, Any], arguments: Any) -> str:
    """What a person approves, as one hash: this call of this tool with these arguments, nothing else."""
    return content_hash(
        {"execution": execution, "step": step, "tool": tool, "schema": schema, "arguments": arguments}
    )
