"""Media beside a prompt: addresses, files of this machine, or parts that are written out."""

import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from perdure.core.errors import ClientError, DefinitionError
from perdure.core.messages import MediaPart

UNKNOWN_TYPE = "application/octet-stream"

Media = str | Path | MediaPart | dict[str, Any]


def media_parts(media: Sequence[Media] | None) -> list[MediaPart]:
    """The parts for the wire. A text is an address; a `Path` is read now.

    Raises:
        ClientError: E0704 a file cannot be read.
        DefinitionError: E0106 something else was given.
    """
    return [_part(item) for item in media or ()]


def _part(item: Media) -> MediaPart:
    if isinstance(item, MediaPart):
        return item
    if isinstance(item, Path):
        try:
            content = item.read_bytes()
        except OSError as error:
            raise ClientError("E0704", f"The file {item} cannot be read", why=str(error)) from error
        return MediaPart(_type_of(item.name), data=base64.b64encode(content).decode())
    if isinstance(item, str) and "://" in item:
        return MediaPart(_type_of(item.partition("?")[0]), url=item)
    try:
        return msgspec.convert(item, MediaPart)
    except msgspec.ValidationError as error:
        raise DefinitionError(
            "E0106",
            f"{str(item)[:80]!r} is not media",
            why=str(error),
            fix="Give an address (https://...), a pathlib.Path, or {'media_type': ..., 'url' or 'data': ...}.",
        ) from error


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or UNKNOWN_TYPE
