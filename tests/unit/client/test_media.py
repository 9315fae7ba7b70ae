"""Media beside a prompt."""

import base64
from pathlib import Path

import pytest

from perdure.client.media import media_parts
from perdure.core.errors import ClientError, DefinitionError
from perdure.core.messages import MediaPart


def test_every_form_becomes_a_part(tmp_path: Path):
    """Addresses keep theirs, files are read, parts and their dicts pass."""
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"png")
    part = MediaPart("audio/wav", data="AA==")
    assert media_parts(None) == []
    assert media_parts(
        ["https://x/a.jpg?size=2", photo, part, {"media_type": "image/gif", "url": "https://x/b"}]
    ) == [
        MediaPart("image/jpeg", url="https://x/a.jpg?size=2"),
        MediaPart("image/png", data=base64.b64encode(b"png").decode()),
        part,
        MediaPart("image/gif", url="https://x/b"),
    ]


def test_what_cannot_be_sent_is_said(tmp_path: Path):
    """A missing file and a text that is no address."""
    with pytest.raises(ClientError, match="cannot be read"):
        media_parts([tmp_path / "none.png"])
    with pytest.raises(DefinitionError, match="is not media"):
        media_parts(["photo.png"])
