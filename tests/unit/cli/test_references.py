"""Agents by reference."""

import sys

import pytest

from perdure.cli.references import is_reference, load_agent, source_of
from perdure.core.errors import ClientError, DefinitionError

SOURCE = """
from perdure import Agent, tool
import neighbour

@tool
def two() -> int:
    '''Two.'''
    return neighbour.TWO

agent = Agent("one", "mock/echo", tools=[two])
also = agent
number = 1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory with an agent and a module beside it."""
    (tmp_path / "shop_agents.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("TWO = 2\n")
    monkeypatch.chdir(tmp_path)
    before, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize("typed", ["a.py", "a.py:agent", "shop.agents:support", "dir/a.py"])
def test_code_is_told_from_names(typed):
    """A colon, a slash or the ending .py makes a reference; agent names have none of these."""
    assert is_reference(typed)
    assert not is_reference("support-agent_2")


@pytest.mark.parametrize(
    "typed", ["shop_agents.py:agent", "shop_agents:agent", "shop_agents.py", "./shop_agents.py:also"]
)
def test_loading(project, typed):
    """A file or a module, with the attribute or, when there is one agent only, without; neighbours are found."""
    agent = load_agent(typed)
    assert agent.name == "one"
    assert agent.tools[0]() == 2
    assert source_of(typed) == project / "shop_agents.py"


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("shop_agents.py:agnet", "did you mean agent?"),
        ("shop_agents.py:number", "is a int, not an Agent"),
        ("missing.py", "There is no file missing.py"),
        ("no_such_module:agent", "There is no module"),
        ("no.such.module:agent", "No module named 'no'"),
        (":agent", "names no module"),
    ],
)
def test_what_cannot_be_loaded(project, typed, why):
    """E0706 says what is wrong and how a reference is written."""
    with pytest.raises(ClientError) as caught:
        load_agent(typed)
    assert caught.value.code == "E0706"
    assert why in caught.value.why
    assert "agent.py:agent" in caught.value.fix


@pytest.mark.parametrize(
    ("source", "why", "line"),
    [
        ("x = 1\nraise RuntimeError('no')\n", "RuntimeError: no", 2),
        ("def broken(:\n", "SyntaxError", 1),
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3", 3),
        ("import not_there\n", "No module named 'not_there'", 1),
    ],
)
def test_a_module_that_raises(project, source, why, line):
    """Whatever the user's module raises is told with its line, and no traceback."""
    (project / "bad.py").write_text(source)
    with pytest.raises(ClientError) as caught:
        load_agent("bad.py:agent")
    assert why in caught.value.why
    assert caught.value.where.endswith(f"bad.py, line {line}")


def test_an_error_of_ours_is_passed_on(project):
    """A definition that is wrong is told as itself, not as a failed import."""
    (project / "bad.py").write_text("from perdure import Agent\nagent = Agent('not a name', 'mock/echo')\n")
    with pytest.raises(DefinitionError) as caught:
        load_agent("bad.py:agent")
    assert caught.value.code == "E0104"


def test_a_file_called_like_a_module_of_pythons(project):
    """An agent in json.py loads, and the module json stays what it is."""
    (project / "json.py").write_text("from perdure import Agent\nagent = Agent('odd', 'mock/echo')\n")
    before = sys.modules["json"]
    assert load_agent("json.py").name == "odd"
    assert sys.modules["json"] is before


def test_two_agents_need_a_name(project):
    """Without an attribute a module with two agents is ambiguous."""
    with (project / "shop_agents.py").open("a") as file:
        file.write("other = Agent('two', 'mock/echo')\n")
    with pytest.raises(ClientError, match="cannot be imported") as caught:
        load_agent("shop_agents.py")
    assert "say which one" in caught.value.why
