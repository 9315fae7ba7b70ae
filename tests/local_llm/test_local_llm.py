"""The support agent and others on real small models behind a real server: `make test-local`.

What a model says differs from run to run, so a test asserts what must hold whatever it says; where a story needs the
model to do its part, it gets three tries.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from perdure import Agent, AgentRuntime
from perdure.cli.demo_agent import PROMPT, support_agent
from perdure.cli.local_model import MODELS, READY, LocalModel, fetch
from tests.story.cli_program import Program
from tests.story.pseudo_terminal import in_terminal

pytestmark = [pytest.mark.local_llm, pytest.mark.timeout(1800)]

TRIES = 3
LONG_S = 900


@pytest.fixture(scope="module", params=list(MODELS))
def model(request: pytest.FixtureRequest) -> LocalModel:
    """Each model that the demonstration knows."""
    return MODELS[request.param]


@pytest.fixture(scope="module")
def weights(model: LocalModel) -> Path:
    """The model's file, fetched once for all runs of these tests."""
    return asyncio.run(fetch(model, os.environ, print))


def server_of(weights: Path, *options: str) -> subprocess.Popen[str]:
    """A server of the model; its first line on stdout says where."""
    return subprocess.Popen(
        [sys.executable, "-m", "perdure.cli.local_server", str(weights), *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture(scope="module")
def base_url(weights: Path) -> Iterator[str]:
    """The model, served."""
    with server_of(weights) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith(READY), line
            yield line.removeprefix(READY).strip()
        finally:
            process.terminate()


@pytest.fixture
def program(tmp_path: Path, weights: Path) -> Program:
    """A command line whose models are where these tests keep them."""
    found = Program(tmp_path)
    found.environ["PERDURE_CACHE"] = str(weights.parents[1])
    return found


def test_the_demo(program: Program, model: LocalModel):
    """Killed in mid-tool, resumed, approved and finished; nothing doubled, nothing recorded run again, in every run."""
    whole = False
    for _ in range(TRIES):
        done = program.run("demo", "--local", "--model", model.name, "-o", "json", timeout=LONG_S)
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        assert (report["status"], report["redone"]) == ("completed", [])
        assert report["model"] == f"openai_compatible/{model.name}"
        assert all(c["effects"] == 1 == c["recorded"] for c in report["calls"])
        whole = report["killed_in"] is not None and "refund" in [c["tool"] for c in report["calls"]]
        if whole:
            break
    assert whole, "the model never asked for the refund, or for a tool that can be killed"


def test_a_person_rejects(program: Program, model: LocalModel):
    """In a terminal the refund is rejected: it has no effect, the model is told, and is not asked for it again."""
    environ = {k: v for k, v in program.environ.items() if k != "CI"}
    command = program.command("demo", "--local", "--model", model.name)
    for _ in range(TRIES):
        with in_terminal(command, environ, program.directory) as screen:
            try:
                screen.expect("Approval needed: refund", timeout=LONG_S)
            except AssertionError:
                continue  # it ended without asking
            screen.expect("r reject")  # from here on it listens
            screen.type("r")
            screen.expect("Reason")
            screen.type("ask again next week\n")
            assert screen.end(LONG_S) == 0
        assert "rejected by local: ask again next week" in screen.text
        assert "The refund was not made: no money was moved" in screen.text
        assert screen.text.count("calls refund") == 1
        return
    pytest.fail("the model never asked for the refund")


def test_in_process(base_url: str, model: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same agent through the SDK: approved from its stream, each tool at most once, an answer in words."""
    monkeypatch.setenv("PERDURE_DEMO_LEDGER", str(tmp_path / "ledger"))
    agent = support_agent(f"openai_compatible/{model.name}", base_url, small=model.held_to)
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data") as runtime:
        handle = runtime.start(agent, PROMPT)
        for event in handle.stream():
            if event.type == "waiting":
                handle.approve(by="ada")
        result = handle.join(LONG_S)
    assert result.is_success, result.error
    assert isinstance(result.output, str)
    assert result.output
    called = [c["name"] for c in result.tool_calls]
    assert len(called) == len(set(called))
    assert result.token_usage.total_tokens > 0


class Order(BaseModel):
    """What a customer writes about."""

    number: str = Field(pattern=r"^[A-Z]-[0-9]{4}$")
    broken: bool


def test_a_typed_answer(base_url: str, model: LocalModel, tmp_path: Path):
    """With an output type the answer is an object of that type, held to its schema by the server's grammar."""
    agent = Agent(
        "reader",
        f"openai_compatible/{model.name}",
        "Read the customer's message.",
        base_url=base_url,
        output_type=Order,
        temperature=0,
        max_tokens=60,
    )
    with AgentRuntime(embedded=True, data_dir=tmp_path / "data") as runtime:
        result = runtime.run(agent, PROMPT)
    assert isinstance(result.output, Order)
    assert result.output.number == "A-1001"


def test_the_server_ends_with_its_parent(weights: Path):
    """Whatever becomes of the process that started it, the model's server does not outlive it."""
    starter = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'perdure.cli.local_server', sys.argv[1],\n"
        "    '--parent', str(os.getpid())], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", starter, str(weights)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    pid = int(done.stdout)
    give_up_at = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        assert time.monotonic() < give_up_at, "it still runs"
        time.sleep(0.2)
