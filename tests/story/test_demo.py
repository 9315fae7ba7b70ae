"""`perdure demo`: the main job, as a newcomer and as CI see it."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.story.cli_program import Program
from tests.story.pseudo_terminal import in_terminal


@pytest.fixture
def program(tmp_path):
    """A command line that has no server."""
    return Program(tmp_path)


def pids(told: str) -> list[int]:
    """The processes that the demonstration says it started."""
    return [int(number) for number in re.findall(r"(?:server|worker)  pid (\d+), ", told)]


def assert_all_dead(numbers: list[int]) -> None:
    """None of these processes exists any more."""
    assert numbers
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_without_a_terminal(program: Program):
    """Killed in mid-tool, resumed at the exact step, approved by itself, none doubled, nothing left behind."""
    began = time.monotonic()
    done = program.run("demo", timeout=120)
    took = time.monotonic() - began
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    assert told.count("is dead (signal 9)") == 2
    before, after = map(int, re.search(r"seq (\d+) before the kill, seq (\d+) now", told).groups())
    assert before < after
    assert "none ran again" in told
    assert "check_policy attempt 1 was lost, offered again" in told
    assert "check_policy started (attempt 2)" in told
    assert "the demonstration approves it by itself" in told
    assert "Good news: the refund of 79.9 for order A-1001" in told
    rows = re.findall(r"^   (\w+) +ik_\w+… +(\d+) +(\d+) +(\d+)$", told, re.MULTILINE)
    assert sorted(rows) == [
        ("check_policy", "2", "1", "1"),
        ("lookup_order", "1", "1", "1"),
        ("refund", "1", "1", "1"),
    ]
    assert "3 calls, started 4 times, 3 effects: none doubled." in told
    assert "mock/support" in told
    assert "make demo MODEL=openai/gpt-5-mini" in told
    assert_all_dead(pids(told))
    home = Path(re.search(r"journal in (\S+)", told)[1])
    assert not home.exists()
    assert took < 60, f"took {took:.0f} s; 10 s on an idle machine"


def test_for_programs_with_its_journal_kept(program: Program, tmp_path):
    """With -o json the counts are on stdout; a home that was named is kept and can be looked into afterwards."""
    home = tmp_path / "kept"
    done = program.run("demo", "--home", str(home), "-o", "json", timeout=120)
    report = json.loads(done.stdout)
    assert (report["killed_in"], report["redone"], report["status"]) == ("check_policy", [], "completed")
    assert [c["effects"] for c in report["calls"]] == [1, 1, 1]
    assert f"export PERDURE_HOME={home}" in done.stderr
    program.environ["PERDURE_HOME"] = str(home)
    program.home = home
    program.ok("server", "start")
    try:
        story = program.ok("show", report["execution_id"])
        assert "approved by demo (cli)" in story
    finally:
        program.ok("server", "stop")


def test_a_person_rejects(program: Program):
    """In a terminal the person decides: a rejected refund has no effect, and the agent says so kindly."""
    environ = {k: v for k, v in program.environ.items() if k != "CI"}
    with in_terminal(program.command("demo"), environ, program.directory) as screen:
        screen.expect("Approval needed: refund", timeout=90)
        screen.expect("r reject")
        screen.type("r")
        screen.expect("Reason")
        screen.type("ask again next week\n")
        assert screen.end(90) == 0
        assert screen.mode_now() == screen.mode
    assert "rejected by local: ask again next week" in screen.text
    assert "was not approved" in screen.text
    assert "2 calls, started 3 times, 2 effects: none doubled." in screen.text
    assert_all_dead(pids(screen.text))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_it_leaves_nothing(program: Program, number):
    """Ctrl-C or SIGTERM in the middle ends every process and removes the home."""
    process = program.popen("demo")
    told = ""
    while "lookup_order asked for" not in told:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        told += line
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert "Traceback" not in errors
    assert_all_dead(pids(told + rest))
    assert not Path(re.search(r"journal in (\S+)", told)[1]).exists()


def test_a_model_without_its_key(program: Program):
    """A real model whose key is not set is refused at once, with the variable to set, and nothing is run."""
    for name in list(program.environ):
        if name.endswith("_API_KEY"):
            del program.environ[name]
    done = program.run("demo", "--model", "openai/gpt-5-mini")
    assert done.returncode == 1
    assert "[E0202]" in done.stderr
    assert "OPENAI_API_KEY" in done.stderr
    assert "started" not in done.stdout
