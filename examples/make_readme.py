"""Writes README.md beside it: a table of the examples, from the first sentences of their docstrings.

python examples/make_readme.py
"""

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
HEAD = """\
# Examples

One idea each, from hello to teams of teams; each file says at its top what it shows and what it prints. They run without a
key and a network, on the built-in mock models:

    pip install perdure
    python examples/001_hello.py

For a real model set its name and its provider's key, then the same files ask it (and may say it in other words):

    PERDURE_MODEL=openai/gpt-5-mini OPENAI_API_KEY=... python examples/001_hello.py

Each keeps its journal in a temporary directory, which is gone afterwards. `quickstart.py` and `support_agent.py` are those of
the main README: they use this user's server. Those about memory need `pip install "perdure[memory]"`, those that import
`perdure.testing` show how agents are tested. This table is made by `python examples/make_readme.py`.

"""
# The section that begins with an example, by its name without the number.
SECTIONS = {
    "hello": "Agents and tools",
    "output_type": "Structured output",
    "stream": "Running, streaming, deploying",
    "approve": "People: approvals, questions, pauses",
    "dynamic_instructions": "Instructions, conversations, memory",
    "budget": "Limits and ends",
    "guardrail_redact": "Guardrails and callbacks",
    "handoff": "Teams",
    "agent_tool": "Agents as tools, agents elsewhere",
    "plan_fixed": "Plans",
    "testing": "Tests of agents",
    "crash_and_resume": "Durability, histories, and all of it together",
}


def examples() -> list[Path]:
    """The numbered files, in order."""
    return sorted(HERE.glob("[0-9][0-9][0-9]_*.py"))


def docstring(path: Path) -> str:
    """What a file says at its top."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def shows(path: Path) -> str:
    """The first sentence of a file's docstring, on one line."""
    text = " ".join(docstring(path).partition("\n\n")[0].split())
    first = re.split(r"(?<=[.?])\s(?=[A-Z`])", text)[0]
    return first.replace("|", "\\|")


def readme() -> str:
    """The whole page."""
    lines = [HEAD.rstrip("\n")]
    for path in examples():
        number, name = int(path.name[:3]), path.stem[4:]
        if name in SECTIONS:
            lines += [
                "",
                f"## {SECTIONS[name]}",
                "",
                "| | file | what it shows | command |",
                "|---|---|---|---|",
            ]
        command = f"`python examples/{path.name}`"
        lines.append(f"| {number} | [{name}]({path.name}) | {shows(path)} | {command} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    README.write_text(readme(), encoding="utf-8")
