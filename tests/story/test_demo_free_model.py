"""`perdure demo` on a model that does as it likes."""

import asyncio
import sys
from pathlib import Path

from tests.contract.providers.provider_dialects import Chat, Say
from tests.contract.providers.provider_fake_http import FakeServer
from tests.story.cli_program import Program


def test_a_model_that_asks_for_nothing(tmp_path: Path):
    """It ends well all the same, and says plainly that nothing was killed and that no money was moved."""
    program = Program(tmp_path)

    async def told() -> tuple[int | None, str, str]:
        async with FakeServer(Chat().stream(Say(text=("All done, your money is on its way.",)))) as server:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "perdure", "demo",
                "--model", "openai_compatible/free", "--base-url", f"{server.url}/v1",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=program.environ,
            )  # fmt: skip
            said, errors = await asyncio.wait_for(process.communicate(), 90)
            return process.returncode, said.decode(), errors.decode()

    code, said, errors = asyncio.run(told())
    assert code == 0, said + errors
    assert "The agent ended without a tool that runs long enough to be killed in its middle." in said
    assert "All done, your money is on its way." in said
    assert "The model did not ask for the refund: no money was moved, whatever the answer says." in said
    assert "0 calls, started 0 times, 0 effects: none doubled." in said


def test_wrong_options_of_a_local_model(tmp_path: Path):
    """An unknown name is refused with those that there are; an address makes no sense beside `--local`."""
    program = Program(tmp_path)
    done = program.run("demo", "--local", "--model", "gpt-7")
    assert done.returncode == 1
    assert "[E0708]" in done.stderr
    assert "smollm2-135m, qwen2.5-coder-0.5b" in done.stderr
    done = program.run("demo", "--local", "--base-url", "http://127.0.0.1:1/v1")
    assert done.returncode == 2
    assert "--base-url" in done.stderr
