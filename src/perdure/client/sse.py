"""Server-sent events: bytes in, events out, no I/O."""

from typing import NamedTuple


class ServerEvent(NamedTuple):
    """One event of the stream. `event_id` is empty when it came without one."""

    event_id: str
    name: str
    data: bytes


class EventDecoder:
    """Splits a byte stream into events. Lines end in LF or CRLF; comments (heartbeats) are skipped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that has not ended; joined once, however long it is
        self._id = ""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that *chunk* completes."""
        if b"\n" not in chunk:
            self._rest.append(chunk)
            return []
        first, *lines, rest = chunk.split(b"\n")
        lines.insert(0, b"".join((*self._rest, first)))
        self._rest = [rest]
        found: list[ServerEvent] = []
        for line in lines:
            text = line.removesuffix(b"\r")
            if text:
                self._field(text)
            elif self._data or self._name:
                found.append(ServerEvent(self._id, self._name or "message", b"\n".join(self._data)))
                # Unlike a browser's, an id is good for its own event only: deltas come without one.
                self._id, self._name, self._data = "", "", []
        return found

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._name = value.decode()
            case b"id":
                self._id = value.decode()
