"""Results that wait to be handed in, in batches. Pure."""

from collections import deque

from perdure.worker.attempt import Attempt

BATCH_RESULTS = 64
BATCH_BYTES = 8 * 1024 * 1024  # a batch is one request; one result alone may be larger


class Outbox:
    """First in, first out; what could not be delivered goes back to the front."""

    def __init__(self) -> None:
        self._waiting: deque[Attempt] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, attempt: Attempt) -> None:
        """A result to hand in."""
        self._waiting.append(attempt)

    def put_back(self, batch: list[Attempt]) -> None:
        """A batch that the server did not get, or may not have got: handing in twice does no harm (E3)."""
        self._waiting.extendleft(reversed(batch))

    def batch(self, limit: int = BATCH_RESULTS) -> list[Attempt]:
        """The next results, at least one, within the limits of one request."""
        taken: list[Attempt] = []
        size = 0
        while self._waiting and len(taken) < limit:
            size += self._waiting[0].size
            if taken and size > BATCH_BYTES:
                break
            taken.append(self._waiting.popleft())
        return taken
