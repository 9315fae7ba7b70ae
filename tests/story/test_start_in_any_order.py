"""Whoever starts first waits: workers before their server, and servers of two kinds in one home."""

import contextlib
import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import AgentRuntime, ClientError
from tests.free_port import free_port
from tests.story.programs.cast import STORY, clerk
from tests.story.stage import SOON_S, Process, Stage, until

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


# Servers of two kinds in one home ---------------------------------------------------------------------------

HELLO = "from perdure import Agent, run\nprint(run(Agent('echo', 'mock/echo'), 'Hello').output)"


class Home(Stage):
    """A stage whose programs name no server, so that they start one when they find none."""

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        with contextlib.suppress(ProcessLookupError):
            if self.server_file().get("gives_way"):
                os.kill(self.server_file()["pid"], signal.SIGKILL)

    def plain(self, name: str, *arguments: str) -> Process:
        """A program that names no server."""
        return self.spawn(name, *arguments, PERDURE_SERVER_URL="")

    def server_file(self) -> dict[str, Any]:
        """What server.json says; empty when there is none."""
        try:
            return json.loads((self.home / "server.json").read_bytes())
        except OSError:
            return {}


def test_a_background_server_gives_way_to_one_in_the_foreground(tmp_path):
    """The one that a client started stops, what it was doing goes on in the other, and the client notices nothing."""
    with Home(tmp_path / "stage") as stage:
        running = stage.plain(
            "run", "-m", "perdure", "run", "tests.story.programs.cast:teller", "Tell", "-o", "json"
        )
        until(lambda: stage.server_file().get("gives_way"), "a server in the background")
        background = stage.server_file()["pid"]
        until(lambda: b"running" in stage.get("/api/v1/executions"), "its execution to run")
        stage.start_server()
        assert stage.server_file()["pid"] == stage.server.pid
        assert not stage.server_file()["gives_way"]
        # Its parent, the client, has to take note of its end.
        until(lambda: not Path(f"/proc/{background}").exists(), "the one in the background to be gone")
        assert running.ended() == 0
        assert json.loads(running.out.read_text())["output"] == STORY
        stage.stop_server()
        assert "Taking the place" in stage.server.said()


@pytest.mark.parametrize("head_start_s", [0.0, 0.3, 0.6, 1.0])
def test_a_client_and_a_supervisor_that_start_a_server_at_the_same_time(tmp_path, head_start_s: float):
    """Whoever is first, both succeed, and the supervisor's server is the one that is left."""
    with Home(tmp_path / "stage") as stage:
        client = stage.plain("client", "-c", HELLO)
        time.sleep(head_start_s)
        stage.start_server()
        assert client.ended() == 0, client.said()
        assert client.out.read_text() == "Hello\n"
        assert stage.server_file()["pid"] == stage.server.pid
        assert stage.server.exit_code is None
        stage.stop_server()


def test_a_server_that_was_killed_may_come_back_before_clients_start_another(tmp_path):
    """A client that finds it gone waits some seconds and uses it; no server is started in the background."""
    with Home(tmp_path / "stage") as stage:
        stage.start_server().kill()
        client = stage.plain("client", "-c", HELLO)
        time.sleep(1.5)
        assert client.exit_code is None
        stage.start_server()
        assert client.ended() == 0, client.said()
        assert client.out.read_text() == "Hello\n"
        assert not (stage.home / "server.log").exists()
        stage.stop_server()
