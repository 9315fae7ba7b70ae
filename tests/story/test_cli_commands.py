"""The commands through real processes: what they print, what they change, how they end."""

import json
import signal
import stat

import pytest

from tests.story.cli_program import Program, served


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A server and a worker that the module shares."""
    with served(tmp_path_factory.mktemp("cli")) as found:
        yield found


def waiting(program: Program) -> str:
    """A new execution that waits for the approval of a payment of 40."""
    execution = program.ok("start", "payer", "Pay the bill").strip()
    program.until(execution, "waiting:approval")
    return execution


def test_approving_with_other_arguments(program: Program):
    """`approve` takes the beginning of an id, edited arguments and a name; `show` tells it all; once is enough."""
    execution = waiting(program)
    done = program.ok("approve", execution[:20], "--arguments", '{"amount": 20}', "--by", "ada")
    assert "approved: pay amount=20" in done
    assert program.until(execution, "completed")["output"] == "Done: paid 20"

    story = program.ok("show", execution)
    for words in (
        "Pay the bill",
        "approved with edited arguments by ada (cli)",
        'result    "paid 20"',
        "Done: paid 20",
    ):
        assert words in story
    again = program.run("approve", execution)
    assert again.returncode == 4
    assert again.stderr.startswith("[E0408] ")
    assert "pay was approved by ada" in again.stderr


def test_rejecting(program: Program):
    """`reject` needs a reason, which the agent sees before it goes on."""
    execution = waiting(program)
    assert program.run("reject", execution).returncode == 2
    answer = program.json("reject", execution, "--reason", "over the limit")
    assert (answer["decision"], answer["reason"], answer["channel"]) == ("rejected", "over the limit", "cli")
    assert "over the limit" in program.until(execution, "completed")["output"]


def test_wrong_arguments_decide_nothing(program: Program):
    """Edited arguments that are no JSON object, or do not fit the tool, leave the question open."""
    execution = waiting(program)
    for arguments in ("{amount: 1}", "[1]", '{"amount": "much"}'):
        done = program.run("approve", execution, "--arguments", arguments)
        assert (done.returncode, done.stderr[:7]) == (1, "[E0305]"), done.stderr
    assert program.until(execution, "waiting:approval")
    program.ok("cancel", execution)


def test_pausing_resuming_cancelling(program: Program):
    """A paused execution begins nothing, a resumed one goes on, a cancelled one is over for good."""
    execution = waiting(program)
    assert "is paused" in program.ok("pause", execution, "--reason", "lunch")
    program.ok("approve", execution)
    program.until(execution, "paused")
    program.ok("resume", execution[:18])
    program.until(execution, "completed")

    other = waiting(program)
    assert program.json("cancel", other, "--reason", "no longer needed")["status"] == "cancelled"
    late = program.run("pause", other)
    assert (late.returncode, late.stderr[:7]) == (4, "[E0402]")
    assert "no longer needed" in program.ok("show", other)


def test_listing(program: Program):
    """`ls` filters, limits and says in words when there is nothing; jsonl has one execution a line."""
    execution = waiting(program)
    rows = program.json("ls", "--status", "waiting:approval", "--agent", "payer", "-n", "1")
    assert [row["execution_id"] for row in rows] == [execution]
    lines = program.ok("-o", "jsonl", "ls", "-n", "2").splitlines()
    assert json.loads(lines[0])["execution_id"] == execution
    head, first, *_ = program.ok("ls").splitlines()
    assert head.split() == ["ID", "STATUS", "AGENT", "AGE", "TURNS", "TOKENS", "TITLE"]
    assert first.split()[:3] == [execution, "waiting:approval", "payer"]
    nothing = program.run("ls", "--agent", "nobody")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "No executions" in nothing.stderr
    program.ok("cancel", execution)


def test_running_to_the_end(program: Program):
    """`run` gives one line an event and the answer last; its exit code is the execution's."""
    done = program.run("run", "echo", "-", stdin="Hello there")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "started: echo Hello there" in lines[0]
    assert lines[-1] == "Hello there"
    failed = program.run("run", "failing", "Hello")
    assert failed.returncode == 1
    assert "[E0205]" in failed.stdout


def test_running_for_programs(program: Program):
    """With -o json `run` prints the execution and nothing else, with jsonl its events."""
    assert program.json("run", "echo", "Hello")["output"] == "Hello"
    events = [json.loads(line) for line in program.ok("run", "echo", "Hello", "-o", "jsonl").splitlines()]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"]["kind"] == "execution_completed"


def test_running_an_agent_from_a_file(program: Program):
    """An agent given by its file is served by `run` itself, a wrong reference is told with its line."""
    other = program.directory / "other.py"
    other.write_text(
        "from perdure import Agent, tool\n\n@tool\ndef two() -> int:\n    '''Two.'''\n    return 2\n\n"
        "agent = Agent('other', 'mock/tools', tools=[two])\n"
    )
    assert program.ok("run", "other.py", "Go").endswith("two: 2\n")
    typo = program.run("run", "other.py:agnet", "Go")
    assert (typo.returncode, typo.stderr[:7]) == (2, "[E0706]")
    assert "did you mean agent?" in typo.stderr
    other.write_text("import perdure\n\nraise RuntimeError('not today')\n")
    broken = program.run("run", "other.py", "Go")
    assert broken.returncode == 2
    assert "other.py, line 3" in broken.stderr
    assert "RuntimeError: not today" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_the_same_key_starts_once(program: Program):
    """Two starts with one idempotency key are one execution; with another prompt it is a conflict."""
    first = program.json("start", "echo", "Hello", "--idempotency-key", "k1")
    second = program.json("start", "echo", "Hello", "--idempotency-key", "k1")
    assert (first["execution_id"], first["created"]) == (second["execution_id"], True)
    assert second["created"] is False
    assert program.run("start", "echo", "Other", "--idempotency-key", "k1").returncode == 4


def test_what_is_not_there(program: Program):
    """An id or an agent that does not exist is exit code 3, with its coded error and no data, as JSON on demand."""
    for arguments, error in (
        (("show", "xnothing"), "E0401"),
        (("approve", "anothing"), "E0407"),
        (("run", "nobody", "Hello"), "E0412"),
    ):
        done = program.run(*arguments)
        assert (done.returncode, done.stdout) == (3, ""), done.stderr
        assert done.stderr.startswith(f"[{error}] ")
    as_json = program.run("-o", "json", "show", "xnothing")
    assert json.loads(as_json.stderr)["error"]["code"] == "E0401"


def test_dangerous_text_never_reaches_the_terminal(program: Program):
    """S-20: what models and tools say comes out of every command without a control character."""
    execution = program.ok("start", "wicked", "Say \x1b]0;it\x07\u202e").strip()
    program.until(execution, "completed")
    for arguments in (
        ("run", "wicked", "\x1b[31m"),
        ("watch", execution),
        ("ls",),
        ("show", execution),
        ("show", execution, "-o", "json"),
        ("watch", execution, "-o", "jsonl"),
    ):
        shown = program.ok(*arguments)
        bad = [
            c for c in shown if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u200b"
        ]
        assert not bad, (arguments, bad)
    assert "⟨U+001B⟩" in program.ok("show", execution)


def test_interrupting_once_leaves_it_running(program: Program):
    """Ctrl-C during `run` detaches and says how to come back; the execution still waits."""
    process = program.popen("run", "payer", "Pay")
    first = process.stdout.readline()
    execution = next(word for word in first.split() if word.startswith("x0"))
    program.until(execution, "waiting:approval")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"perdure watch {execution}" in told
    assert program.until(execution, "waiting:approval")

    process = program.popen("watch", execution)
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 1
    program.until(execution, "cancelled")


def test_doctor(program: Program):
    """All is well here; a key that others can read is a failure with its fix, and exit code 1."""
    found = {f["name"]: f for f in program.json("doctor")}
    assert {f["level"] for f in found.values()} == {"ok"}
    assert {"python", "sqlite", "home", "api_key", "disk", "server", "auth", "models"} <= found.keys()
    key = program.home / "api_key"
    key.chmod(0o644)
    try:
        sick = program.run("doctor")
    finally:
        key.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert sick.returncode == 1
    assert "fail api_key" in sick.stdout
    assert f"chmod 600 {key}" in sick.stdout
    with_key = program.run("doctor", OPENAI_API_KEY="sk-canary")
    assert "model openai" in with_key.stdout
    assert "sk-canary" not in with_key.stdout + with_key.stderr
    wrong = program.run("doctor", PERDURE_API_KEY="pdr_wrong")
    assert (wrong.returncode, "fail auth" in wrong.stdout) == (1, True)


def test_starting_is_quick(program: Program):
    """`perdure version` does not load what it does not need."""
    heavy = ("rich", "httpx2", "pydantic", "starlette", "apsw", "perdure.app", "perdure.client")
    code = (
        "import sys; from perdure.cli import main; main(['version']); "
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = program.run_python(code)
    assert done.stderr.strip() == "[]"


def test_a_server_is_started_once(tmp_path):
    """`server start` starts one, says so when it runs, and `stop` and `status` tell the truth; no server is exit 5."""
    program = Program(tmp_path)
    assert program.run("server", "status").returncode == 5
    assert program.run("ls", PERDURE_SERVER_URL=f"http://127.0.0.1:{program.port}").returncode == 5
    try:
        first = program.json("server", "start")
        second = program.json("server", "start")
        assert (first["started"], second["started"], first["pid"]) == (True, False, second["pid"])
        status = program.json("server", "status")
        assert (status["running"], status["pid"], status["status"]) == (True, first["pid"], "ok")
        assert program.json("ls") == []
    finally:
        assert program.json("server", "stop") == {"stopped": True}
    assert program.json("server", "stop") == {"stopped": False}
    # Gone, or dead and not yet collected by whoever inherited it.
    state = program.execute(["ps", "-o", "stat=", "-p", str(first["pid"])]).stdout.strip()
    assert state == "" or state.startswith("Z")
