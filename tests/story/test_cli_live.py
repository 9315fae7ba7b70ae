"""What a person sees: the live tree, approvals answered by a key, and watching over a restart of the server."""

import json
import os
import signal

import pytest

from tests.story.cli_program import Program, served
from tests.story.pseudo_terminal import in_terminal


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A server and a worker that the module shares."""
    with served(tmp_path_factory.mktemp("live")) as found:
        yield found


def test_approving_by_a_key(program: Program):
    """`run` draws the tree, shows the whole question, takes `a`, and ends with the answer and a sane terminal."""
    with in_terminal(
        program.command("run", "payer", "Pay the bill"), program.environ, program.directory
    ) as screen:
        screen.expect("Approval needed: pay")
        screen.expect('"amount": 40')
        screen.expect("a approve   e edit the arguments   r reject   l later")
        screen.type("xa")
        assert screen.end() == 0, screen.text
        assert screen.mode_now() == screen.mode
    last = screen.text[screen.text.rindex("● payer") :]
    lines = [line.rstrip() for line in last.splitlines() if line.strip()]
    assert "completed" in lines[0]
    assert lines[1].startswith("├─ ✓ model script")
    assert lines[2].startswith("│  └─ ✓ pay  amount=40")
    assert lines[2].endswith('→ "paid 40"')
    assert lines[3].startswith("└─ ✓ model script")
    assert lines[4] == "Done: paid 40"


def test_editing_and_rejecting_in_place(program: Program):
    """`e` takes a line of JSON, a wrong one decides nothing; `r` asks for a reason, which the agent sees."""
    environ = {k: v for k, v in program.environ.items() if k not in {"EDITOR", "VISUAL"}}
    with in_terminal(program.command("run", "payer", "Pay"), environ, program.directory) as screen:
        screen.expect("a approve")
        screen.type("e")
        screen.expect("JSON: ")
        screen.type('{"amount": "much"}\n')
        screen.expect("[E0305]")
        screen.type("e")
        screen.expect("JSON: ")
        screen.type('{"amount": 7}\n')
        assert screen.end() == 0
    assert screen.text.rstrip().endswith("Done: paid 7")
    with in_terminal(program.command("run", "payer", "Pay"), environ, program.directory) as screen:
        screen.expect("a approve")
        screen.type("r")
        screen.expect("Reason (the agent sees it): ")
        screen.type("not this month\n")
        assert screen.end() == 0
    assert "rejected by local: not this month" in screen.text


def test_editing_in_an_editor(program: Program):
    """With EDITOR set, `e` opens the arguments there and takes what was saved."""
    editor = program.directory / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i.bak "s/40/9/" "$1"\n')
    editor.chmod(0o755)
    environ = program.environ | {"EDITOR": str(editor), "VISUAL": ""}
    with in_terminal(program.command("run", "payer", "Pay"), environ, program.directory) as screen:
        screen.expect("a approve")
        screen.type("e")
        assert screen.end() == 0
    assert screen.text.rstrip().endswith("Done: paid 9")


def test_leaving_by_ctrl_c(program: Program):
    """Ctrl-C once leaves the execution running and says how to come back; twice, it is cancelled."""
    with in_terminal(program.command("run", "payer", "Pay"), program.environ, program.directory) as screen:
        screen.expect("a approve")
        screen.type("\x03")
        screen.expect("Ctrl-C again to cancel it")
        assert screen.end() == 130
        assert screen.mode_now() == screen.mode
    execution = screen.text.split("perdure watch ")[-1].split()[0]
    assert program.until(execution, "waiting:approval")
    with in_terminal(program.command("watch", execution[:20]), program.environ, program.directory) as screen:
        screen.expect("a approve")
        screen.type("\x03")
        screen.expect("Ctrl-C again")
        screen.type("\x03")
        assert screen.end() == 1
    assert "Cancelled by local: Ctrl-C twice in the terminal" in screen.text
    program.until(execution, "cancelled")


def test_dangerous_text_in_a_terminal(program: Program):
    """S-20: in a real terminal too, only our own colours and cursor movements are sent."""
    with in_terminal(
        program.command("run", "wicked", "Go \x1b]0;x\x07"), program.environ, program.directory
    ) as screen:
        assert screen.end() == 0
    assert "⟨U+001B⟩]52" in screen.text
    left = screen.text.replace("\n", "")
    assert not [c for c in left if ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b"], ascii(left)


def test_a_small_terminal(program: Program):
    """In a terminal of ten rows and forty columns nothing breaks, and the answer is there."""
    command = program.command("run", "echo", "Hello there")
    with in_terminal(command, program.environ, program.directory, rows=10, columns=40) as screen:
        assert screen.end() == 0
    assert screen.text.rstrip().endswith("Hello there")


def test_watching_over_a_restart(tmp_path):
    """`watch` outlives kill -9 of the server: every event once, in order, and the end."""
    with served(tmp_path) as program:
        execution = program.ok("start", "payer", "Pay").strip()
        program.until(execution, "waiting:approval")
        watching = program.popen("watch", execution, "-o", "jsonl")
        try:
            first = [json.loads(watching.stdout.readline())["seq"] for _ in range(4)]
            os.kill(program.server_pid(), signal.SIGKILL)
            assert watching.stderr.readline() == "The server does not answer; waiting for it.\n"
            program.ok("server", "start")
            assert watching.stderr.readline() == "The server is back.\n"
            program.ok("approve", execution)
            rest, _ = watching.communicate(timeout=60)
        finally:
            watching.kill()
            watching.wait()
        events = [json.loads(line) for line in rest.splitlines()]
        assert first + [e["seq"] for e in events] == list(range(1, events[-1]["seq"] + 1))
        assert events[-1]["event"]["kind"] == "execution_completed"
        assert watching.returncode == 0
