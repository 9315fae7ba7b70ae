"""Whoever starts first waits: workers before their server, and servers of two kinds in one home."""

import logging
import time

import pytest

from perdure import AgentRuntime, ClientError
from tests.free_port import free_port
from tests.story.programs.cast import clerk
from tests.story.stage import SOON_S, Stage, until

LONGER_THAN_A_LOOK_S = 3.0  # a program that only wants an answer gives up before
WAITS = "waiting for it"


def test_workers_that_begin_before_their_server_wait_for_it(tmp_path):
    """`serve` and `perdure worker` say once that no server answers, and serve as soon as one does."""
    with Stage(tmp_path / "stage") as stage:
        serving = stage.worker("clerk", called="serve")
        command = stage.spawn("command", "-m", "perdure", "worker", "tests.story.programs.cast:clerk")
        both = (serving, command)
        until(lambda: all(WAITS in process.said() for process in both), "both to say that they wait")
        time.sleep(LONGER_THAN_A_LOOK_S)
        assert [process.exit_code for process in both] == [None, None]
        stage.start_server()
        until(lambda: "serving clerk.add" in serving.said(), "serve() to serve")
        until(lambda: "serving clerk: add" in command.out.read_text(), "the command to serve")
        with stage.runtime() as runtime:
            assert runtime.run("clerk", "Add up", timeout=SOON_S).output == "It is 7."
        assert [process.said().count(WAITS) for process in both] == [1, 1]


def test_serve_gives_up_when_no_server_comes(caplog: pytest.LogCaptureFixture):
    """After `reconnect_timeout` seconds it is E0701; what is no address is E0701 at once."""
    with AgentRuntime(f"http://127.0.0.1:{free_port()}", reconnect_timeout=4.0) as runtime:
        began = time.monotonic()
        with caplog.at_level(logging.WARNING, "perdure.client"), pytest.raises(ClientError) as caught:
            runtime.serve(clerk, blocking=False)
        assert caught.value.code == "E0701"
        assert time.monotonic() - began >= 4.0
    assert sum(WAITS in line for line in caplog.messages) == 1
    with (
        AgentRuntime("127.0.0.1") as runtime,
        pytest.raises(ClientError, match="not the address of a server"),
    ):
        runtime.serve(clerk, blocking=False)
