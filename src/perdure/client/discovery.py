"""Finding this user's server and its key. Reads small files; writes nothing.

    <home>/server.json   written by a running server: {"url": ..., "pid": ...}
    <home>/api_key       made at a server's first start

The home is `PERDURE_HOME`, else `~/.perdure`. A server is looked for at the address that was given, else
`PERDURE_SERVER_URL`, else what `server.json` says, else on this machine at the port where this user's server would
listen: `PERDURE_PORT`, or the default port.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from perdure.core.errors import ClientError
from perdure.wire import DEFAULT_PORT


class ServerFile(msgspec.Struct, frozen=True):
    """What this module reads of `server.json`. `gives_way`: the server was started in the background."""

    url: str
    pid: int = 0
    gives_way: bool = False


class Candidates(msgspec.Struct, frozen=True):
    """Where a server may be, in the order of trying. `fixed`: the user named it, so none is started instead."""

    urls: tuple[str, ...]
    fixed: bool


def home_of(given: Path | str | None, environ: Mapping[str, str]) -> Path:
    """The directory of this user's server."""
    return Path(given or environ.get("PERDURE_HOME") or "~/.perdure").expanduser()


def candidates(given: str | None, home: Path, environ: Mapping[str, str]) -> Candidates:
    """Where to look for the server.

    Raises:
        ClientError: E0701 the address is not one of HTTP.
    """
    named = given or environ.get("PERDURE_SERVER_URL")
    if named:
        if not named.startswith(("http://", "https://")):
            raise ClientError(
                "E0701",
                f"{named!r} is not the address of a server",
                fix="Write it with its scheme, e.g. http://127.0.0.1:6767.",
            )
        return Candidates((named.rstrip("/"),), fixed=True)
    urls = []
    if (found := read_server_file(home)) is not None:
        urls.append(found.url.rstrip("/"))
    port = environ.get("PERDURE_PORT") or str(DEFAULT_PORT)
    if port.isdecimal() and int(port):  # 0 is any free port: only server.json knows which
        urls.append(f"http://127.0.0.1:{int(port)}")
    return Candidates(tuple(dict.fromkeys(urls)), fixed=False)


def read_server_file(home: Path) -> ServerFile | None:
    """What the server that runs, or ran last, wrote; None when there is nothing to read."""
    try:
        return msgspec.json.decode((home / "server.json").read_bytes(), type=ServerFile)
    except (OSError, msgspec.MsgspecError):  # absent, or being written: the default port is tried instead
        return None


def api_key_of(given: str | None, home: Path, environ: Mapping[str, str]) -> str | None:
    """The key that was given, else `PERDURE_API_KEY`, else the one in the home; None: there is none yet."""
    if key := given or environ.get("PERDURE_API_KEY"):
        return key
    try:
        return (home / "api_key").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
