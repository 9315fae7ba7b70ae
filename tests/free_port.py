"""A port for a server that a test kills and starts again on the same port."""

import itertools
import os
import socket

# Below the ports that Linux and macOS give to outgoing connections: while the server is away, a client that tries to
# reach it could be given the server's own port as its source, and would then keep the server from coming back.
_LEAST, _MOST = 20_000, 30_000
_next = itertools.count(os.getpid() * 61)


def free_port() -> int:
    """A port on which nobody listens, and no two calls of one process give the same."""
    for number in _next:
        port = _LEAST + number % (_MOST - _LEAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError
