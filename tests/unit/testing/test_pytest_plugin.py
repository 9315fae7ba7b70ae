"""The pytest plugin, in a pytest of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TESTS = """
import pytest
from perdure import Agent, Status, run
from perdure.testing import MockModel, call, expect


@pytest.mark.agent_correctness
def test_in_process(mock_agent_run):
    expect(mock_agent_run(Agent("a", "openai/x", "Work."), "hello", script=["hi"])).output_equals("hi")


def test_embedded(perdure_runtime, tmp_path):
    result = perdure_runtime.run(Agent("a", MockModel(["served"])), "hello")
    assert result.output == "served"
    assert (tmp_path / "perdure").is_dir()
"""


def test_the_fixtures_and_the_mark_work(tmp_path: Path):
    """A project's tests find both fixtures and the mark, with strict markers and warnings as errors."""
    (tmp_path / "test_agents.py").write_text(TESTS)
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT / "src")}
    options = ["-p", "perdure.testing.plugin", "--strict-markers", "-W", "error", "-q", "-rA"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    chosen = subprocess.run(
        [*command, "-m", "agent_correctness"],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert "1 passed, 1 deselected" in chosen.stdout


def test_the_plugin_is_found_by_pytest():
    """The package names the plugin as an entry point of pytest's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"perdure": "perdure.testing.plugin"}
