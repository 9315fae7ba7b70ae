"""A stream is read in one process while the server dies in mid-token, twice."""

from typing import Any

from perdure import AgentHandle
from tests.story.programs.cast import STORY
from tests.story.stage import Process, Stage, until


def tokens(lines: list[dict[str, Any]], attempt: int) -> list[str]:
    """The pieces of one attempt at the answer."""
    return [line["content"] for line in lines if line["type"] == "token" and line["attempt"] == attempt]


def until_tokens(listener: Process, attempt: int, count: int) -> None:
    """Wait until the reader has seen so many pieces of this attempt."""
    until(lambda: len(tokens(listener.lines(), attempt)) >= count, f"token {count} of attempt {attempt}")


def test_a_stream_outlives_two_deaths_of_the_server_in_mid_token(stage: Stage):
    """No event is missed or given twice, and the tokens of the last attempt, joined, are the stored message."""
    stage.start_server()
    listener = stage.program("listener")
    for attempt, count in ((1, 8), (2, 1)):
        until_tokens(listener, attempt, count)
        stage.server.kill()
        stage.start_server()
    assert listener.ended() == 0, listener.said()

    lines = listener.lines()
    assert lines[-1] == {"type": "result", "output": STORY}
    told = [line for line in lines[:-1] if line["type"] != "token"]
    with stage.runtime() as runtime:
        stored = AgentHandle(lines[0]["execution"], runtime).events()
    assert [(t["seq"], t["type"], t["content"]) for t in told] == [(e.seq, e.type, e.content) for e in stored]

    assert "".join(tokens(lines, 3)) == STORY
    assert [t["content"] for t in told if t["type"] == "message"] == [STORY]
    for lost, least in ((1, 8), (2, 1)):
        begun = "".join(tokens(lines, lost))
        assert len(tokens(lines, lost)) >= least
        assert STORY.startswith(begun)
        assert begun != STORY
    attempts = [line["attempt"] for line in lines if line["type"] == "token"]
    assert attempts == sorted(attempts), "a piece of an attempt that is void came after the next had begun"
    retries = [t for t in told if t["type"] == "retry"]
    assert [t["kind"] for t in retries] == ["model_lost", "model_lost"]
