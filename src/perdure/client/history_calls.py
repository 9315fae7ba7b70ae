"""What the server is asked about executions that are made out of others."""

import msgspec

from perdure.client.calls import Caller, path_of
from perdure.wire.histories import (
    DiffAnswer,
    ForkBody,
    MadeAnswer,
    MakeKind,
    ReplayBody,
    RerunBody,
    RetryBody,
)

MakeBody = RetryBody | RerunBody | ForkBody | ReplayBody


class HistoryCalls(Caller):
    """Retry, rerun, fork, replay, compare."""

    async def make(self, execution_id: str, kind: MakeKind, body: MakeBody) -> MadeAnswer:
        """Make an execution out of another one, once: without an idempotency key the request is given one."""
        if body.idempotency_key is None:
            key = "sdk_" + self.clock.random_bytes(16).hex()
            body = msgspec.structs.replace(body, idempotency_key=key)
        return await self.call("POST", path_of("executions", execution_id, kind), MadeAnswer, body)

    async def diff(self, execution_id: str, other: str) -> DiffAnswer:
        """Two executions side by side."""
        path = path_of("executions", execution_id, "diff")
        return await self.call("GET", path, DiffAnswer, params={"other": other})
