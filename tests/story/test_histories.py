"""What went wrong is taken up, tried differently and compared, from the command line and over a kill of the server."""

import json

import pytest

from tests.story.cli_program import Program, served


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A server and a worker that the module shares."""
    with served(tmp_path_factory.mktemp("histories")) as found:
        yield found


def test_an_execution_is_cancelled_retried_forked_replayed_and_compared(program: Program):
    """The payment that was made is made once; each new execution says what it came from; `diff` says where they part."""
    old = program.ok("start", "payer", "Pay the bill").strip()
    program.until(old, "waiting:approval")
    program.ok("cancel", old, "--reason", "by mistake")

    again = program.ok("retry", old[:20]).strip()
    program.until(again, "waiting:approval")
    program.ok("approve", again)
    paid = program.until(again, "completed")
    assert paid["output"].startswith("Done: paid")
    assert program.run("retry", again).returncode == 4

    edited = program.json("fork", again, "--at", "t1.c0", "--edit", '{"result": "paid 1"}')
    assert (edited["kind"], edited["origin"]) == ("fork", again)
    assert program.until(edited["execution_id"], "completed")["output"] == "Done: paid 1"

    replayed = program.ok("replay", again, "--instructions", "Be kind.").strip()
    assert program.until(replayed, "completed")["output"] == paid["output"]
    told = program.ok("diff", again, replayed)
    assert "Every step is the same." in told
    assert f"replay of {again}" in told
    parts = json.loads(program.ok("diff", again, edited["execution_id"], "-o", "json"))
    assert (parts["first"], parts["same_output"]) == ("t1.c0", False)

    rerun = program.ok("rerun", again, "--prompt", "Pay another bill").strip()
    assert program.until(rerun, "waiting:approval")["title"] == "Pay another bill"
    program.ok("cancel", rerun)
    for wrong in (("fork", again, "--at", "t9.m"), ("fork", again, "--edit", "{")):
        assert program.run(*wrong).returncode in (1, 2)
