"""crash_test with mode="process": real processes and SIGKILL find what virtual time finds."""

import sys
from pathlib import Path
from typing import Any

import pytest

from perdure import Agent
from perdure.core.errors import ClientError, DefinitionError
from perdure.testing import CrashTestFailure, call, crash_test
from perdure.testing.crash_process import check_platform
from tests.unit.testing.crash_shop import SAID, SCRIPT, mailer

CASHIER = "tests.unit.testing.crash_shop:cashier"
NEEDS_SIGKILL = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the tools append to, in this process and in its children."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # compiling is most of a child's start
    return path


@NEEDS_SIGKILL
def test_a_run_that_is_killed_is_taken_up_by_another_process(effects: Path):
    """Script, approval and keys outlive a kill before and after a commit, and one in the middle of a call."""
    only = ["process:before:4", "process:effect:1"]
    report = crash_test(CASHIER, script=SCRIPT, approve=True, effects=effects, mode="process", only=only)
    assert report.points == tuple(only)
    assert report.repeated >= 1
    assert report.effects == 1
    assert report.result.output == "Done: 5 back"
    assert [attempt.tool for attempt in report.result.attempts] == ["charge", "refund"]
    virtual = crash_test(CASHIER, script=SCRIPT, approve=True, effects=effects, only=only)
    assert (report.commits, report.calls) == (virtual.commits, virtual.calls)
    assert report.effects == virtual.effects


def test_points_are_sampled(effects: Path):
    """Each so-manieth of all points is tried; a file of effects serves virtual time, too."""
    report = crash_test(CASHIER, script=SCRIPT, approve=True, effects=effects, every=9)
    whole = 2 * (2 * report.commits + report.calls)
    assert len(report.points) == -(-whole // 9)
    assert report.effects == 1


@NEEDS_SIGKILL
def test_a_tool_that_ignores_its_key_is_found(effects: Path):
    """A mail that is sent twice is a failure, and the message has the call that shows it again."""
    script = [call("mail", to="ann"), "sent"]
    with pytest.raises(CrashTestFailure, match="the tools did") as caught:
        crash_test(mailer, script=script, effects=effects, mode="process", only="process:effect:1")
    assert "mode='process', only='process:effect:1'" in str(caught.value)


@NEEDS_SIGKILL
def test_what_is_no_data_is_imported_by_the_child_and_a_point_that_is_not_met_is_not_reported(effects: Path):
    """A script with functions is found in its module; a run that ends before its point was not killed."""
    report = crash_test(mailer, script=SAID, effects=effects, mode="process", only="process:before:999")
    assert report.points == ()
    assert report.result.output == "done"


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ("tests.unit.testing.crash_shop:nobody", "cannot be imported"),
        ("no_such_module:agent", "cannot be imported"),
        ("crash_shop", "is no import path"),
        ("tests.unit.testing.crash_shop:NO_AGENT", "is no agent"),
        (Agent("local", "openai/gpt-5"), "cannot reach another process"),
    ],
)
def test_an_agent_that_a_child_cannot_import_is_refused(agent: Any, says: str):
    """E0106 says what cannot be imported, and what to do."""
    with pytest.raises(DefinitionError, match=says) as caught:
        crash_test(agent, mode="process")
    assert caught.value.code == "E0106"
    assert caught.value.fix


@pytest.mark.parametrize(
    "options",
    [
        {"script": [lambda _: "x"]},
        {"effects": []},
        {"kill": "server"},
        {"every": 0},
        {"only": "somewhere"},
        {"mode": "thread"},
    ],
)
def test_what_cannot_be_done_in_processes_is_refused(options: dict[str, Any]):
    """Before any child is started."""
    with pytest.raises(DefinitionError) as caught:
        crash_test(mailer, **{"mode": "process"} | options)
    assert caught.value.code == "E0106"


def test_windows_is_refused():
    """There is no SIGKILL."""
    check_platform("linux")
    with pytest.raises(DefinitionError, match="Windows"):
        check_platform("win32")


@NEEDS_SIGKILL
def test_an_error_of_the_child_is_the_tests(effects: Path):
    """A coded error of the child keeps its code: here nobody approves."""
    with pytest.raises(ClientError, match="waits for a person") as caught:
        crash_test(CASHIER, script=SCRIPT, effects=effects, mode="process", timeout=30)
    assert caught.value.code == "E0705"
