"""The pytest plugin: fixtures and a mark for tests of agents. It is loaded by itself where Perdure is installed.

def test_it(mock_agent_run):
    expect(mock_agent_run(agent, "Hello", script=["Hi."])).output_contains("Hi")
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import perdure
import perdure.testing

MARK = "agent_correctness: runs agents to see whether they do what they should (run them with -m agent_correctness)"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", MARK)


@pytest.fixture
def mock_agent_run() -> Callable[..., Any]:
    """`perdure.testing.mock_run`: run an agent in process, without a server and without a key."""
    return perdure.testing.mock_run


@pytest.fixture
def perdure_runtime(tmp_path: Path) -> "Iterator[perdure.AgentRuntime]":
    """A runtime with a server of its own in this process and a journal of its own on the disk; closed at the end."""
    with perdure.AgentRuntime(
        embedded=True, data_dir=tmp_path / "perdure", home=tmp_path / "home"
    ) as runtime:
        yield runtime
