"""Waiting for the word to stop."""

import signal
import threading


def wait_for_signal() -> None:
    """Block until SIGINT or SIGTERM; the handlers that were there are put back, so a second one is theirs.

    Outside of the main thread no handler can be set: it blocks until the program ends.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        asked.wait()
        return
    before = {
        number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        asked.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
