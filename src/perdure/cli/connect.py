"""Finding the server, for commands: the one that was named, else this user's.

Commands that only look or decide never start a server; `perdure run` and `perdure start` do, as the SDK does.
"""

import contextlib
from collections.abc import AsyncIterator

from perdure.cli.options import Invocation
from perdure.client.api import ApiClient
from perdure.client.connection import Connection
from perdure.client.session import Options, Session

GRACE_S = 5.0  # for tasks in hand when a command ends that serves tools


@contextlib.asynccontextmanager
async def connection(
    call: Invocation, *, start: bool = False, wait: bool = False
) -> AsyncIterator[Connection]:
    """A connection to the server, closed at the end.

    With *start*, this user's server is started in the background when none answers and none was named. With *wait*,
    one that was named and is not there yet is waited for, five minutes long.

    Raises:
        ClientError: E0701 no server answers; E0702 it was started and does not answer.
    """
    session = Session(Options(auto_start=start), clock=call.clock, environ=call.environ)
    try:
        yield await session.connection(wait_s=session.options.reconnect_timeout if wait else 0.0)
    finally:
        await session.close_async(GRACE_S)


@contextlib.asynccontextmanager
async def connected(call: Invocation, *, start: bool = False) -> AsyncIterator[ApiClient]:
    """The API of the server; see `connection`."""
    async with connection(call, start=start) as open_:
        yield open_.api
