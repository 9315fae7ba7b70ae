"""The outside world misbehaves: a full disk under a real server, and a second server on the same data directory."""

import concurrent.futures
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure import Agent, tool
from perdure.testing import MockModel, call, text
from tests.free_port import free_port
from tests.server.bad_input import check_error, ended, get, post, start
from tests.server.harness import definition, with_tool
from tests.story.stage import Stage, until

DISK_BYTES = 12 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of twelve megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {mounted.stderr.strip()}")
    yield folder
    # Lazily, so that a test which failed with files open leaves no disk behind.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def stage(disk: Path, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose server's home is on the small disk; its logs are not."""
    with Stage(tmp_path / "stage", lease_ms=2_000) as found:
        found.home = disk / "home"
        found.environ["PERDURE_HOME"] = str(found.home)
        found.start_server()
        yield found


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512, 64, 1):
            try:
                while file.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def refused_for_want_of_space(stage: Stage) -> list[str]:
    """Start executions until the disk takes no more; the ids of those that were begun."""
    begun = []
    for number in range(200):
        prompt = f"{number} " + "x" * 20_000
        answer = post(stage, "/executions", {"prompt": prompt, "definition": definition()})
        if answer.status != 200:
            error = check_error(answer, 503, "E0501")
            assert "space" in error["fix"].lower()
            return begun
        begun.append(str(answer.json["execution_id"]))
    raise AssertionError("the disk never filled up")


def test_a_full_disk_loses_nothing_and_heals_by_itself(stage: Stage, disk: Path):
    """503 E0501 for all that would be written; looking still works; with room again everything goes on, unaided."""
    slow = start(stage, model_settings={"script": [{"text": "worth waiting for", "delay_ms": 1_500}]})
    working = start(stage, **with_tool())
    poll = {"worker": "w1", "tools": ["helper.look"], "want": 1, "wait_ms": 5_000}
    (task,) = post(stage, "/worker/poll", poll).json["tasks"]
    waiting = start(stage, **with_tool(approval_required=True))
    (approval,) = until(lambda: get(stage, f"/approvals?execution_id={waiting}")["approvals"], "the approval")
    ballast = fill(disk)
    begun = refused_for_want_of_space(stage)
    decision = f"/approvals/{approval['approval_id']}/decision"
    check_error(post(stage, decision, {"decision": "approved"}), 503, "E0501")
    check_error(post(stage, f"/executions/{waiting}/pause", {}), 503, "E0501")
    ids = {name: task[name] for name in ("execution_id", "step", "epoch", "token")}
    results = poll | {"want": 0, "results": [ids | {"result": "y" * 20_000}]}
    (receipt,) = post(stage, "/worker/poll", results).json["receipts"]
    assert receipt["code"] == "E0501"
    until(lambda: json.loads(stage.get("/health"))["status"] == "storage_unavailable", "the word of it")
    assert get(stage, f"/executions/{slow}")["status"] == "running"
    assert get(stage, f"/approvals/{approval['approval_id']}")["decision"] is None
    beat = {"worker": "w1", "leases": [{name: task[name] for name in ("execution_id", "step", "epoch")}]}
    assert post(stage, "/worker/heartbeat", beat).json["held"] == [True]

    ballast.unlink()

    until(lambda: json.loads(stage.get("/health"))["status"] == "ok", "the server to notice the room")
    assert post(stage, "/worker/poll", results).json["receipts"] == [None]
    assert ended(stage, working)["output"] == "looked"
    found = ended(stage, slow)
    assert found["output"] == "worth waiting for"
    requests = [
        e
        for e in get(stage, f"/executions/{slow}/events")["events"]
        if e["event"]["kind"] == "model_requested"
    ]
    assert len(requests) == 1
    for execution_id in begun:
        assert ended(stage, execution_id)["status"] == "completed"
    assert post(stage, decision, {"decision": "rejected"}).status == 200
    assert ended(stage, waiting)["status"] == "completed"
    stage.stop_server()
    _sound(stage)


def test_a_server_that_is_killed_on_a_full_disk(stage: Stage, disk: Path):
    """It says why it cannot start, or starts and refuses; with room again all that was acknowledged is there."""
    waiting = start(stage, **with_tool(approval_required=True))
    until(lambda: get(stage, f"/approvals?execution_id={waiting}")["approvals"], "the approval")
    ballast = fill(disk)
    begun = refused_for_want_of_space(stage)
    stage.server.kill()
    again = stage.spawn_server()
    until(
        lambda: again.exit_code is not None or stage._server_pid() == again.pid,
        "the server to start or to say why",
    )
    if again.exit_code is not None:
        assert "E0501" in again.said()
    ballast.unlink()
    if again.exit_code is None:
        until(lambda: json.loads(stage.get("/health"))["status"] == "ok", "the server to notice the room")
    else:
        stage.start_server()
    for execution_id in begun:
        assert ended(stage, execution_id)["status"] == "completed"
    (approval,) = get(stage, f"/approvals?execution_id={waiting}")["approvals"]
    post(stage, f"/approvals/{approval['approval_id']}/decision", {"decision": "rejected"})
    assert ended(stage, waiting)["status"] == "completed"
    stage.stop_server()
    _sound(stage)


def test_a_tool_that_finishes_while_the_disk_is_full(stage: Stage, disk: Path):
    """The SDK's worker keeps the result until it is recorded; the tool runs once."""
    done: list[int] = []
    ballasts: list[Path] = []

    @tool
    def last_straw() -> str:
        """Fill the disk, and finish."""
        done.append(1)
        ballasts.append(fill(disk))
        return "z" * 100_000

    agent = Agent("straw", MockModel([call("last_straw"), text("all is well")]), tools=[last_straw])
    with stage.runtime() as runtime, concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(runtime.run, agent, "go", timeout=60)
        until(lambda: ballasts, "the tool to run")
        until(lambda: json.loads(stage.get("/health"))["status"] == "storage_unavailable", "the word of it")
        ballasts[0].unlink()
        result = running.result(60)
    assert (result.output, len(done)) == ("all is well", 1)
    stage.stop_server()


def _sound(stage: Stage) -> None:
    """The file is whole, every chain holds."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from perdure.clock import SystemClock\n"
        "from perdure.engine.journal.sqlite import SqliteJournal\n"
        "async def main():\n"
        "    journal = SqliteJournal(Path(sys.argv[1]), SystemClock())\n"
        "    await journal.open()\n"
        "    print(await journal.audit())\n"
        "    await journal.close()\n"
        "asyncio.run(main())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(stage.home)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


# A second server ------------------------------------------------------------------------------------------


def second_server(stage: Stage, **environ: str) -> Any:
    """Another server on the same data directory, with a port of its own."""
    arguments = ("-m", "perdure", "server", "start", "--foreground")
    return stage.spawn("second", *arguments, PERDURE_PORT=str(free_port()), **environ)


def test_a_second_server_on_the_same_data_directory(tmp_path: Path):
    """E0502 with the process that has it; the first one goes on; when it is gone the second may start."""
    with Stage(tmp_path / "stage", lease_ms=1_000) as stage:
        stage.start_server()
        slow = start(stage, model_settings={"script": [{"text": "undisturbed", "delay_ms": 1_000}]})
        second = second_server(stage)
        assert second.ended() != 0
        said = second.said()
        assert "E0502" in said
        assert str(stage.server.pid) in said
        assert "data directory" in said
        assert ended(stage, slow)["output"] == "undisturbed"
        first = stage.server
        first.kill()
        stage.start_server()
        assert ended(stage, start(stage))["output"] == "done"


def test_an_embedded_runtime_on_the_data_directory_of_a_server(tmp_path: Path):
    """The same refusal for a program that would run everything in process."""
    with Stage(tmp_path / "stage", lease_ms=1_000) as stage:
        stage.start_server()
        code = (
            "import sys\n"
            "from perdure import Agent, AgentRuntime\n"
            "AgentRuntime(embedded=True, data_dir=sys.argv[1]).run(Agent('a', 'mock/echo'), 'hi')\n"
        )
        program = stage.spawn("embedded", "-c", code, str(stage.home))
        assert program.ended() != 0
        assert "E0502" in program.said()
        assert str(stage.server.pid) in program.said()
        assert ended(stage, start(stage))["output"] == "done"
