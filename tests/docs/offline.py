"""Runs a program whose every attempt to reach a network is an error: `python offline.py PROGRAM`.

Connections within this machine that have no address of a network (pipes, Unix sockets) are left alone.
"""

import runpy
import socket
import sys
from typing import Any

REFUSED = {"socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"}


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise when the network is asked for something."""
    family = getattr(arguments[0], "family", None) if arguments else None
    if event in REFUSED or (event == "socket.connect" and family != socket.AF_UNIX):
        raise PermissionError(f"the network was asked for: {event} {arguments}")


if __name__ == "__main__":
    sys.addaudithook(refuse)
    program = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_path(program, run_name="__main__")
