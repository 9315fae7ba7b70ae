"""The secret files of a data directory (S-16)."""

import os
import shutil
import stat
import subprocess
import sys

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import ApiError
from perdure.server.keys import Keys, is_key, make_key, open_secrets


def test_files_are_made_once_and_for_the_owner_only(tmp_path):
    """The first opening makes both files with mode 0600, whatever the umask; later ones read the same."""
    old = os.umask(0)
    try:
        made = open_secrets(tmp_path, SystemClock())
    finally:
        os.umask(old)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["api_key", "secret"]
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert is_key(made.api_key)
    assert len(made.secret) == 32
    assert (tmp_path / "api_key").read_text() == made.api_key + "\n"
    assert open_secrets(tmp_path, SystemClock()) == made
    assert made.api_key not in repr(made)


def test_two_directories_have_different_secrets(tmp_path):
    """Nothing about a key is fixed."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    one, two = open_secrets(first, SystemClock()), open_secrets(second, SystemClock())
    assert one.api_key != two.api_key
    assert one.secret != two.secret


def test_a_keys_form():
    """A key has a prefix, 43 characters and a checksum that finds a changed character."""
    key = make_key(bytes(range(32)))
    assert key.startswith("pdr_")
    assert len(key) == 53
    assert is_key(key)
    for place in range(4, 53):
        assert not is_key(key[:place] + ("0" if key[place] != "0" else "1") + key[place + 1 :])
    assert not is_key(key + "0")
    assert not is_key(key[:-1])


@pytest.mark.parametrize("name", ["api_key", "secret"])
@pytest.mark.parametrize(
    "damage", ["empty", "short", "changed", "long", "group", "others", "symlink", "directory"]
)
def test_a_damaged_or_open_file_is_refused_and_left_alone(tmp_path, name, damage):
    """What cannot be trusted is refused with E0613 and stays exactly as it is."""
    open_secrets(tmp_path, SystemClock())
    path = tmp_path / name
    good = path.read_bytes()
    if damage in {"empty", "short", "long"}:
        path.write_bytes({"empty": b"", "short": good[:20], "long": good + b"x"}[damage])
    elif damage == "changed":
        # The secret has no checksum: any 32 bytes are one. Only the key can tell.
        path.write_bytes(good.replace(good[6:7], b"!") if name == "api_key" else good[:31])
    elif damage in {"group", "others"}:
        path.chmod(0o640 if damage == "group" else 0o604)
    else:
        path.unlink()
        if damage == "directory":
            path.mkdir(mode=0o700)
        else:
            other = tmp_path / "elsewhere"
            other.write_bytes(good)
            other.chmod(0o600)
            path.symlink_to(other)
    before = path.lstat(), path.read_bytes() if path.is_file() else None
    with pytest.raises(ApiError) as caught:
        open_secrets(tmp_path, SystemClock())
    assert caught.value.code == "E0613"
    assert str(path) in caught.value.where
    assert good.decode("latin-1").strip() not in str(caught.value)
    after = path.lstat(), path.read_bytes() if path.is_file() else None
    assert (before[0].st_mtime_ns, before[0].st_mode, before[1]) == (
        after[0].st_mtime_ns,
        after[0].st_mode,
        after[1],
    )


def test_only_hashes_are_kept():
    """What checks requests knows no key, only its SHA-256 (S-25)."""
    key = make_key(b"k" * 32)
    keys = Keys({"local": key})
    assert key not in repr(vars(keys))
    assert keys.principal(f"Bearer {key}".encode()) == "local"
    assert keys.principal(f"bearer  {key} ".encode()) == "local"
    assert keys.principal(key.encode()) is None
    assert keys.principal(None) is None
    assert Keys({}).principal(f"Bearer {key}".encode()) is None


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_s16_files_are_private_from_their_first_moment(tmp_path):
    """The system calls show O_EXCL and 0600 at the opening, before anything is written."""
    trace = tmp_path / "trace"
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import sys; from pathlib import Path; from perdure.clock import SystemClock; "
        "from perdure.server.keys import open_secrets; open_secrets(Path(sys.argv[1]), SystemClock())"
    )
    command = ["strace", "-f", "-e", "trace=openat,chmod,fchmod,linkat,link", "-o", str(trace)]
    run = subprocess.run(
        [*command, sys.executable, "-c", program, str(home)], check=False, capture_output=True
    )
    if run.returncode != 0 and b"ptrace" in run.stderr:
        pytest.skip("this machine does not allow tracing")
    assert run.returncode == 0, run.stderr
    written = [x for x in trace.read_text().splitlines() if str(home) in x and "O_WRONLY" in x]
    assert len(written) == 2
    assert all("O_EXCL" in x and "0600" in x for x in written)
    assert "chmod" not in trace.read_text().replace("trace=", "")
