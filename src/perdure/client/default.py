"""The one session that module-level functions and handles without a runtime share, made when first needed."""

import atexit
import logging
import threading
from typing import Any

import msgspec

from perdure.client.session import Options, Session
from perdure.core.errors import ClientError, DefinitionError

_log = logging.getLogger("perdure.client")
_lock = threading.Lock()
_state: dict[str, Any] = {"options": Options(), "session": None}


def configure(**options: Any) -> None:
    """Set the options of the default runtime, as `AgentRuntime` takes them; before its first use.

    Raises:
        ClientError: E0707 it is in use already.
        DefinitionError: E0106 there is no such option.
    """
    known = Options.__struct_fields__
    if unknown := sorted(options.keys() - set(known)):
        raise DefinitionError(
            "E0106", f"There is no option {', '.join(unknown)}", fix=f"One of: {', '.join(known)}."
        )
    with _lock:
        if _state["session"] is not None:
            raise ClientError(
                "E0707",
                "The default runtime is in use already",
                fix="Call configure() before everything else, or shutdown() first, or use AgentRuntime(...).",
            )
        _state["options"] = msgspec.structs.replace(_state["options"], **options)


def default_session() -> Session:
    """The session, made with the first call; closed when the program ends."""
    with _lock:
        session: Session | None = _state["session"]
        if session is None:
            session = _state["session"] = Session(_state["options"])
            atexit.register(_close_at_exit, session)
        return session


def take_default_session() -> Session | None:
    """The session, if there is one, for its closing; the next use makes a new one."""
    with _lock:
        session: Session | None = _state["session"]
        _state["session"] = None
        if session is not None:
            atexit.unregister(_close_at_exit)
        return session


def _close_at_exit(session: Session) -> None:
    try:
        session.close(grace_s=0.5)
    except Exception:  # noqa: BLE001 - the program ends, and all that matters is in the journal
        _log.debug("the default runtime did not close cleanly", exc_info=True)
