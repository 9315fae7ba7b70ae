"""Task tokens: proof that a result comes from the worker that was given the attempt.

A token is HMAC-SHA256 of execution, step, epoch and worker. Nothing is stored: the server derives it again to
check it, so tokens survive a restart, and one attempt's token is worth nothing for another's.
"""

import hashlib
import hmac

_PURPOSE = b"perdure task token v1"
_BLOCK = 64  # bytes of a block of SHA-256


class TaskTokens:
    """Makes and checks tokens.

    Args:
        secret: the data directory's secret; the key used is derived from it for this purpose alone.
    """

    def __init__(self, secret: bytes) -> None:
        key = hmac.digest(secret, _PURPOSE, "sha256").ljust(_BLOCK, b"\0")
        # RFC 2104 with both pads hashed once: two tokens per task are made, and `hmac.digest` takes four times as long.
        self._inner = hashlib.sha256(bytes(b ^ 0x36 for b in key))
        self._outer = hashlib.sha256(bytes(b ^ 0x5C for b in key))

    def mint(self, execution_id: str, step: str, epoch: int, worker: str) -> str:
        """The token of one attempt: 64 hexadecimal characters."""
        inner, outer = self._inner.copy(), self._outer.copy()
        # Lengths before the texts: no two attempts can give the same bytes.
        inner.update(f"{len(execution_id)}:{execution_id}{len(step)}:{step}{epoch}:{worker}".encode())
        outer.update(inner.digest())
        return outer.hexdigest()

    def check(self, token: str, execution_id: str, step: str, epoch: int, worker: str) -> bool:
        """Whether *token* is the one of this attempt; takes the same time for every wrong one."""
        expected = self.mint(execution_id, step, epoch, worker)
        return hmac.compare_digest(expected.encode(), token.encode())
