"""Finding the server, its key and its home."""

from pathlib import Path

import pytest

from perdure.client.discovery import api_key_of, candidates, home_of, read_server_file
from perdure.core.errors import ClientError


def test_the_order_of_looking(tmp_path: Path):
    """What was given, then the environment, then server.json, then the port of this user's server."""
    default = ("http://127.0.0.1:6767",)
    assert candidates(None, tmp_path, {}).urls == default
    assert not candidates(None, tmp_path, {}).fixed
    (tmp_path / "server.json").write_text('{"url": "http://127.0.0.1:5000/", "pid": 3, "more": true}')
    assert candidates(None, tmp_path, {}).urls == ("http://127.0.0.1:5000", *default)
    assert candidates(None, tmp_path, {"PERDURE_PORT": "5000"}).urls == ("http://127.0.0.1:5000",)
    assert candidates(None, tmp_path, {"PERDURE_PORT": "0"}).urls == ("http://127.0.0.1:5000",)
    named = candidates(None, tmp_path, {"PERDURE_SERVER_URL": "https://x/"})
    assert (named.urls, named.fixed) == (("https://x",), True)
    assert candidates("http://y", tmp_path, {"PERDURE_SERVER_URL": "https://x/"}).urls == ("http://y",)


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid": 3}', b"\xff"])
def test_a_damaged_server_file_is_no_server(tmp_path: Path, content: bytes):
    """Half a file is passed over."""
    (tmp_path / "server.json").write_bytes(content)
    assert read_server_file(tmp_path) is None


def test_an_address_needs_its_scheme(tmp_path: Path):
    """E0701 says how to write it."""
    with pytest.raises(ClientError, match="not the address"):
        candidates("localhost:6767", tmp_path, {})


def test_the_key(tmp_path: Path):
    """What was given, then the environment, then the file; none is no error yet."""
    assert api_key_of(None, tmp_path, {}) is None
    (tmp_path / "api_key").write_text("pdr_file\n")
    assert api_key_of(None, tmp_path, {}) == "pdr_file"
    assert api_key_of(None, tmp_path, {"PERDURE_API_KEY": "pdr_env"}) == "pdr_env"
    assert api_key_of("given", tmp_path, {"PERDURE_API_KEY": "pdr_env"}) == "given"


def test_the_home(tmp_path: Path):
    """What was given, then PERDURE_HOME, then ~/.perdure."""
    assert home_of(tmp_path, {"PERDURE_HOME": "elsewhere"}) == tmp_path
    assert home_of(None, {"PERDURE_HOME": str(tmp_path)}) == tmp_path
    assert home_of(None, {}) == Path.home() / ".perdure"
