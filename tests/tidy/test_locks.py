"""The locks: in step with pyproject.toml and with each other, every file hashed, no word of an index."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.tidy.sources import ROOT

LOCKS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MOST_RUNTIME_DEPENDENCIES = 15

# lock -> the extras that it holds besides the runtime's own dependencies and the build's
EXTRAS = {
    "run": [],
    "dev": ["dev"],
    "all-models": ["all-models"],
    "local-model": ["local-model"],
    "bench": ["bench"],
}
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==(\S+)((?: ;[^\\]*)?)(.*(?:\n    --hash=.*)*)", re.MULTILINE
)


def _pins(lock: str) -> dict[str, list[Version]]:
    """Package -> its versions; a package has several when they depend on the platform."""
    pins: dict[str, list[Version]] = {}
    for name, version, _marker, _hashes in PIN.findall((LOCKS / f"{lock}.lock").read_text(encoding="utf-8")):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


def _wanted(extras: list[str]) -> list[Requirement]:
    """What pyproject.toml and build.in ask for; an extra that names this package's extras is followed."""
    optional = PROJECT["project"]["optional-dependencies"]
    texts = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    texts += [t for t in (LOCKS / "build.in").read_text(encoding="utf-8").splitlines() if t and t[0] != "#"]
    todo = list(extras)
    while todo:
        for text in optional[todo.pop()]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["project"]["name"]:
                todo += requirement.extras
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_holds_what_the_project_asks_for(lock: str):
    """Each requirement is locked at a version that satisfies it: else run `make lock`."""
    pins = _pins(lock)
    missing = [
        f"{requirement}: locked {[str(v) for v in pins.get(canonicalize_name(requirement.name), [])] or 'nowhere'}"
        for requirement in _wanted(EXTRAS[lock])
        if not any(
            requirement.specifier.contains(v) for v in pins.get(canonicalize_name(requirement.name), [])
        )
    ]
    assert not missing, missing


@pytest.mark.parametrize("lock", EXTRAS)
def test_every_locked_file_is_hashed(lock: str):
    """Each package has SHA-256 hashes, of more than one file unless it is pure Python, and nothing names an index."""
    text = (LOCKS / f"{lock}.lock").read_text(encoding="utf-8")
    unhashed = [name for name, *_, hashes in PIN.findall(text) if "--hash=sha256:" not in hashes]
    assert not unhashed, unhashed
    assert "://" not in text
    assert not re.search(r"^(-i|-f|--)", text, re.MULTILINE), "an option of pip stands in the lock"
    assert " @ " not in text
    assert "-e " not in text


def test_compiled_packages_are_locked_for_other_platforms_too():
    """A package with compiled code is locked with the files of many platforms, not of this one alone."""
    text = (LOCKS / "run.lock").read_text(encoding="utf-8")
    hashes = {canonicalize_name(name): found.count("--hash=") for name, *_, found in PIN.findall(text)}
    for package in ("apsw", "msgspec", "httptools", "uvloop", "pydantic-core"):
        assert hashes[package] > 10, package


def test_any_two_locks_can_share_an_environment():
    """A package has the same versions in every lock that holds it."""
    seen: dict[str, dict[str, list[Version]]] = {}
    for lock in EXTRAS:
        for name, versions in _pins(lock).items():
            seen.setdefault(name, {})[lock] = sorted(versions)
    differing = {
        name: {lock: [str(v) for v in versions] for lock, versions in by_lock.items()}
        for name, by_lock in seen.items()
        if len({tuple(v) for v in by_lock.values()}) > 1
    }
    assert not differing, differing


def test_every_lock_is_checked_here():
    """requirements/ has no lock that these tests do not know."""
    assert {path.stem for path in LOCKS.glob("*.lock")} == set(EXTRAS)


def test_the_runtime_has_few_direct_dependencies():
    """At most 15 packages are asked for by `pip install perdure`."""
    assert len(PROJECT["project"]["dependencies"]) <= MOST_RUNTIME_DEPENDENCIES


def test_no_vendor_is_in_the_runtime():
    """A model provider's library comes with its extra alone."""
    vendors = {
        "openai",
        "anthropic",
        "google-genai",
        "boto3",
        "mistralai",
        "cohere",
        "groq",
        "huggingface-hub",
    }
    assert not vendors & set(_pins("run"))
