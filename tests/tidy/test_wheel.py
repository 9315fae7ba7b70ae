"""The wheel that users get: built from this checkout without the network, and looked into."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def _build(folder: Path) -> Path:
    # A fixed time stamp: two builds of the same files must be the same file.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    return _build(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_runs_nothing_at_interpreter_start(wheel: Path):
    """The wheel has no .pth file, and nothing outside the package and its own metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not [name for name in names if name.endswith(".pth")]
    assert {name.partition("/")[0] for name in names} == {"perdure", f"perdure-{VERSION}.dist-info"}


def test_the_wheel_has_what_it_needs(wheel: Path):
    """The wheel has the typing marker, the licence and the command, and no byte code."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = archive.read(f"perdure-{VERSION}.dist-info/entry_points.txt").decode()
    assert {
        "perdure/__init__.py",
        "perdure/py.typed",
        f"perdure-{VERSION}.dist-info/licenses/LICENSE",
    } <= names
    assert "perdure = perdure.cli:main" in entry_points
    assert not [name for name in names if name.endswith((".pyc", ".so"))]


def test_two_builds_are_the_same_file(wheel: Path, tmp_path: Path):
    """Building twice gives the same bytes, so that anybody can check what was published."""
    assert _build(tmp_path).read_bytes() == wheel.read_bytes()
