"""The two files of the data directory that must stay secret, and the check of requests against the key.

* `api_key`: one line, `pdr_` + 32 random bytes in base 62 + 6 characters of checksum. Whoever can read it is the
  owner. The checksum lets scanners of leaked text recognise a key, and tells a damaged file from a wrong key.
* `secret`: 32 random bytes from which keys for single purposes are derived.

Both are made at the first start: written whole under another name, opened `O_EXCL` with mode 0600, and then
linked to their place, so that no reader ever sees half a file or a wider mode. A file that is damaged, or that
others may read, is refused and never repaired: making a new one would silently cut off everybody who has the old.
"""

import hashlib
import hmac
import os
import re
import stat
import zlib
from pathlib import Path

import msgspec

from perdure.clock import Clock
from perdure.core.errors import ApiError

KEY_FILE, SECRET_FILE = "api_key", "secret"
SECRET_BYTES = 32
OWNER = "local"  # the name of the data directory's own key, as it is recorded in journals

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(r"pdr_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_LONGEST_TOKEN = 256


class Secrets(msgspec.Struct, frozen=True):
    """What a data directory keeps secret. Never log or print this."""

    api_key: str
    secret: bytes

    def __repr__(self) -> str:
        return "Secrets(...)"


def open_secrets(data_dir: Path, clock: Clock) -> Secrets:
    """Read both files, making those that are missing.

    Raises:
        ApiError: E0613 a file is damaged or may be read by others; it is left as it is.
    """
    key_path, secret_path = data_dir / KEY_FILE, data_dir / SECRET_FILE
    if not os.path.lexists(key_path):
        _create(key_path, (make_key(clock.random_bytes(SECRET_BYTES)) + "\n").encode(), clock)
    if not os.path.lexists(secret_path):
        _create(secret_path, clock.random_bytes(SECRET_BYTES), clock)
    key = _read(key_path).decode("ascii", "replace").strip()
    if not is_key(key):
        raise _unusable(key_path, "its text is not a key: too short, too long or changed")
    secret = _read(secret_path)
    if len(secret) != SECRET_BYTES:
        raise _unusable(secret_path, f"it has {len(secret)} bytes, not {SECRET_BYTES}")
    return Secrets(key, secret)


def make_key(random: bytes) -> str:
    """The text of a key from 32 random bytes."""
    body = _base62(int.from_bytes(random, "big"), 43)
    return f"pdr_{body}{_checksum(body)}"


def is_key(text: str) -> bool:
    """Whether *text* has a key's form and its checksum is right."""
    match = _KEY.fullmatch(text)
    return match is not None and _checksum(match[1]) == match[2]


class Keys:
    """Knows keys by their SHA-256 only."""

    def __init__(self, named: dict[str, str]) -> None:
        self._digests = [(name, hashlib.sha256(key.encode()).digest()) for name, key in named.items()]

    def principal(self, authorization: bytes | None) -> str | None:
        """The name of the key in an `Authorization: Bearer ...` header; None when there is no valid one."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        token = authorization[7:].strip()
        if not token or len(token) > _LONGEST_TOKEN:
            return None
        digest = hashlib.sha256(token).digest()
        found = None
        for name, known in self._digests:  # to the end, whatever matches: the time says nothing
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _create(path: Path, content: bytes, clock: Clock) -> None:
    """Put a new file in place at once, complete and readable by its owner only."""
    draft = path.with_name(f".{path.name}.{clock.random_bytes(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was first; its file counts
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> bytes:
    """The content of a file that only its owner may read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(path, f"it cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "it is not a regular file")
        if status.st_uid != os.geteuid():
            raise _unusable(path, "it belongs to another user")
        if status.st_mode & 0o077:
            raise _unusable(path, f"others may read it (mode {stat.S_IMODE(status.st_mode):04o})")
        return os.read(descriptor, 1_024)
    finally:
        os.close(descriptor)


def _unusable(path: Path, why: str) -> ApiError:
    return ApiError(
        "E0613",
        f"The file {path.name} of the data directory cannot be used",
        where=str(path),
        why=why,
        fix="Restore it from a backup, or `chmod 600` it; or move it away, and a new one is made at the next "
        "start (workers and clients then need the new key).",
    )


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), 6)


def _base62(value: int, width: int) -> str:
    digits = []
    for _ in range(width):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
