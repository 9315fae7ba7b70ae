"""The entry point in this process: help, usage, exit codes, the screen."""

import io
import json

import pytest

from perdure.cli import exits
from perdure.cli.main import COMMANDS, main
from perdure.cli.screen import Format, Screen
from perdure.core.errors import ApiError, ClientError, ExecutionError, PerdureError


@pytest.fixture(autouse=True)
def _no_server(monkeypatch, tmp_path):
    """A home without anything, and an address where nothing listens."""
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path))
    monkeypatch.delenv("PERDURE_SERVER_URL", raising=False)
    monkeypatch.delenv("PERDURE_API_KEY", raising=False)


def test_every_command_explains_itself(capsys):
    """Each command has a help with an example, in plain text, and the list has each command."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in listed
        assert main([name, "--help"] if name != "server" else ["server", "start", "--help"]) == 0
        page = capsys.readouterr().out
        assert "Example" in page, name
        assert f"    perdure {name}" in page, name
        assert "\x1b" not in page


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["run", "echo", " "], 2, "E0704"),
        (["run", "missing.py:agent", "Hello"], 2, "E0706"),
        (["dev", "no.such.module:agent"], 2, "E0706"),
        (["--server", "http://127.0.0.1:9", "ls"], 5, "E0701"),
        (["--server", "localhost", "ls"], 5, "E0701"),
        (["approve", "x", "--arguments", "{"], 1, "E0305"),
        (["server", "start", "--port", "99999"], 1, "E0106"),
        ([], 2, ""),
        (["shwo"], 2, ""),
        (["ls", "--nope"], 2, ""),
        (["ls", "-n", "0"], 2, ""),
        (["-o", "xml", "ls"], 2, ""),
        (["run", "echo", "Hello", "--context", "[1]"], 2, ""),
    ],
)
def test_failures_have_a_code_and_print_no_data(monkeypatch, capsys, arguments, code, error):
    """Usage errors are 2, an unreachable server 5; coded errors begin with their code, as JSON when that is asked."""
    monkeypatch.setenv("PERDURE_SERVER_URL", "http://127.0.0.1:9")
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == "" or not arguments
    if error:
        assert printed.err.startswith(f"[{error}] "), printed.err
        assert main(["-o", "json", *arguments]) == code
        assert json.loads(capsys.readouterr().err)["error"]["code"] == error
    elif arguments == ["shwo"]:
        assert "Did you mean 'show'?" in printed.err


def test_version(capsys):
    """`version` prints one line, or JSON, wherever the option stands."""
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("perdure ")
    for arguments in (
        ["-o", "json", "version"],
        ["version", "-o", "json"],
        ["-o", "table", "version", "-o", "jsonl"],
    ):
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out).keys() == {"version", "wire", "python"}


def test_doctor_without_a_server(capsys):
    """Without a server the rest is looked at all the same, and that is no failure."""
    assert main(["doctor", "-o", "json"]) == 0
    found = {f["name"]: f for f in json.loads(capsys.readouterr().out)}
    assert found["server"]["level"] == "warn"
    assert "perdure server start" in found["server"]["fix"]
    assert found["disk"]["words"].startswith("fsync takes ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExecutionError("E0401", "x"), 3),
        (ExecutionError("E0408", "x"), 4),
        (ExecutionError("E0405", "x"), 1),
        (ClientError("E0701", "x"), 5),
        (ClientError("E0706", "x"), 2),
        (ApiError("E0601", "x"), 1),
    ],
)
def test_exit_codes(error: PerdureError, code: int):
    """Each kind of error has its exit code; what has none is a failure."""
    assert exits.exit_code(error) == code


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def screen(*, terminal: bool, **environ: str) -> Screen:
    """A screen over memory."""
    kind = Terminal if terminal else io.StringIO
    return Screen(kind(), kind(), kind(), {"TERM": "xterm", **environ})


def test_an_error_is_neutralised():
    """An error's texts come from models and tools too: they are made safe, in a terminal as well."""
    for terminal in (False, True):
        shown = screen(terminal=terminal, NO_COLOR="1")
        shown.error(
            ExecutionError("E0405", "bad \x1b]52;c;x\x07", where="a\u202eb", why="line\nline", fix="\x9b31m")
        )
        printed = shown.stderr.getvalue()
        assert "⟨U+001B⟩]52" in printed
        assert not {"\x07", "\u202e", "\x9b"} & set(printed)
        assert printed.startswith("[E0405]") or terminal


def test_colours_need_a_terminal_that_wants_them():
    """Colours are only for a terminal, and NO_COLOR turns them off there."""
    for terminal, environ, coloured in (
        (False, {}, False),
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
    ):
        shown = screen(terminal=terminal, **environ)
        shown.out.print("x", style="red")
        assert ("\x1b[31m" in shown.stdout.getvalue()) is coloured
    assert screen(terminal=True, TERM="dumb").terminal is False


def test_data_is_the_only_thing_on_stdout():
    """Remarks go to stderr; a list is an array in JSON and lines in JSON lines."""
    shown = screen(terminal=False)
    shown.format = Format.JSON
    shown.note("a remark")
    shown.rows([{"a": 1}, {"a": 2}])
    assert json.loads(shown.stdout.getvalue()) == [{"a": 1}, {"a": 2}]
    assert shown.stderr.getvalue() == "a remark\n"
    lines = screen(terminal=False)
    lines.format = Format.JSONL
    lines.rows([{"a": "\n"}, {"a": 2}])
    assert [json.loads(line) for line in lines.stdout.getvalue().splitlines()] == [{"a": "\n"}, {"a": 2}]


def test_tables():
    """A pipe gets columns that are not cut, a terminal a table, and no rows a remark."""
    wide = "w" * 300
    piped = screen(terminal=False)
    piped.table(("id", "title"), [("1", wide), ("22", "b")], empty="Nothing.")
    assert piped.stdout.getvalue().splitlines() == ["ID  TITLE", f"1   {wide}", "22  b"]
    drawn = screen(terminal=True, COLUMNS="40")
    drawn.table(("id", "title"), [("1", "[bold]a[/bold]")], empty="Nothing.")
    assert "[bold]a[/bold]" in drawn.stdout.getvalue()
    nothing = screen(terminal=False)
    nothing.table(("id",), [], empty="Nothing.")
    assert (nothing.stdout.getvalue(), nothing.stderr.getvalue()) == ("", "Nothing.\n")
