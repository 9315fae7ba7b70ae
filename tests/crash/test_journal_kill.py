"""The process dies at each named point of the journal's commit path; what was acknowledged is there afterwards."""

import asyncio
import signal
import subprocess
import sys

import pytest

from perdure.clock import SystemClock
from perdure.core.errors import JournalError
from perdure.engine.faults import KILLED_EXIT_CODE
from perdure.engine.journal.sqlite import SqliteJournal
from tests.crash.journal_check import ROOT, acked, check_now, run_child

POINTS = ("before_commit", "mid_commit", "after_commit", "before_checkpoint")
KINDS = ("execution_started", "model_completed", "tool_requested", "tool_completed")


@pytest.mark.parametrize(
    "spec",
    [
        *(f"{point}::{n}" for point in POINTS for n in (1, 3)),
        *(f"{point}:{kind}:2" for point in POINTS[:3] for kind in KINDS[1:]),
        *(f"{point}:{KINDS[0]}" for point in POINTS[:3]),
    ],
)
def test_killed_at_a_point(spec, tmp_path):
    """I1, I2: acknowledged commits survive, unacknowledged ones are there whole or not at all."""
    child = run_child(tmp_path, spec)
    assert child.returncode == KILLED_EXIT_CODE, child.stderr
    promised = acked(child.stdout)
    found = check_now(tmp_path, promised)
    if spec.startswith("after_commit"):
        # The group was durable and nobody was told: that is the window in which a caller must ask again.
        assert sum(found.values()) > sum(promised.values())
    elif not spec.startswith("before_checkpoint"):  # there, answers may be on their way
        assert found == promised


def test_killed_at_any_time(tmp_path):
    """SIGKILL from outside, at growing delays, over and over on one data directory."""
    promised: dict[str, int] = {}
    for attempt in range(6):
        data_dir = tmp_path / str(attempt)
        command = [sys.executable, "-m", "tests.crash.journal_child", str(data_dir), "", "100000"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(20 + 150 * attempt)]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        promised = acked("".join(line for line in lines if line.endswith("\n")))
        assert promised
        check_now(data_dir, promised)


def test_a_second_server_is_refused_until_the_first_is_dead(tmp_path):
    """E0502 names the process that has the directory; its death, however sudden, frees it."""
    command = [sys.executable, "-m", "tests.crash.journal_child", str(tmp_path), "", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(JournalError) as caught:
            asyncio.run(SqliteJournal(tmp_path, SystemClock()).open())
        child.kill()
    assert caught.value.code == "E0502"
    assert caught.value.fields["pid"] == child.pid
    assert str(child.pid) in str(caught.value)
    check_now(tmp_path, {})
