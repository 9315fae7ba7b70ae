"""Task tokens: proof that a result comes from the worker that was given the attempt.

A token is a keyed hash of execution, step, epoch and worker. Nothing is stored: the server derives it again to
check it, so tokens survive a restart, and one attempt's token is worth nothing for another's.
"""

import hmac
from base64 import urlsafe_b64encode

_PURPOSE = b"perdure task token v1"


class TaskTokens:
    """Makes and checks tokens.

    Args:
        secret: the data directory's secret; the key used is derived from it for this purpose alone.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")

    def mint(self, execution_id: str, step: str, epoch: int, worker: str) -> str:
        """The token of one attempt: 43 characters."""
        # Lengths before the texts: no two attempts can give the same bytes.
        message = f"{len(execution_id)}:{execution_id}{len(step)}:{step}{epoch}:{worker}"
        digest = hmac.digest(self._key, message.encode(), "sha256")
        return urlsafe_b64encode(digest)[:43].decode()

    def check(self, token: str, execution_id: str, step: str, epoch: int, worker: str) -> bool:
        """Whether *token* is the one of this attempt; takes the same time for every wrong one."""
        expected = self.mint(execution_id, step, epoch, worker)
        return hmac.compare_digest(expected.encode(), token.encode())
