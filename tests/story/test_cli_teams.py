"""Teams on the command line, through real processes: lists, stories, watching, deciding on the root's id."""

import json

import pytest

from tests.story.cli_program import Program, served
from tests.story.pseudo_terminal import in_terminal


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A server and a worker that the module shares."""
    with served(tmp_path_factory.mktemp("teams")) as found:
        yield found


def started(program: Program, team: str) -> tuple[str, dict]:
    """A new execution of a team, and what waits for a person below it."""
    root = program.ok("start", team, "Pay the bill").strip()
    return root, asked(program, root)


def asked(program: Program, root: str, tool: str = "") -> dict:
    """The approval that waits below an execution (for this tool)."""
    for _ in range(600):
        found = program.get(f"/approvals?execution_id={root}&tree=true")["approvals"]
        if found and tool in ("", found[0]["tool"]):
            return found[0]
    raise AssertionError(found)


def test_approving_on_the_roots_id(program: Program):
    """`ls` has the root, `--parent` its children, and who waits; `show` has the tree; `approve ROOT` is enough."""
    root, approval = started(program, "pair")
    child = approval["execution_id"]
    rows = program.json("ls")
    assert root in [r["execution_id"] for r in rows]
    assert all(r["parent_id"] is None for r in rows)
    assert {r["agent"] for r in program.json("ls", "--parent", root)} == {"echo", "payer"}
    assert child in [r["execution_id"] for r in program.json("ls", "--status", "waiting:approval")]
    assert child in [r["execution_id"] for r in program.json("ls", "--all")]
    assert f"{root}" in program.ok("ls", "--status", "waiting:approval")  # whose child it is

    story = program.ok("show", root)
    for words in (
        "waiting for approval",
        "✓ echo",
        "completed",
        "⏸ payer",
        "⏸ pay  amount=40",
        f"perdure approve {root}",
    ):
        assert words in story
    assert "pay  amount" not in program.ok("show", root, "--no-tree")
    told = program.json("show", root)
    assert [c["execution_id"] for c in told["children"]][-1] == child
    assert {e["execution_id"] for e in told["events"]} == {root}
    lines = [json.loads(line) for line in program.ok("show", root, "-o", "jsonl").splitlines()]
    assert {e["execution_id"] for e in lines} == {root, *(c["execution_id"] for c in told["children"])}

    answered = program.run("respond", root, "--answer", "yes")
    assert (answered.returncode, answered.stderr[:7]) == (4, "[E0415]")
    assert "`perdure approve`" in answered.stderr
    assert "approved: pay amount=40" in program.ok("approve", root, "--by", "ada")
    assert program.until(root, "completed")["output"] == "Done: paid 40"
    again = program.run("approve", root)
    assert (again.returncode, again.stderr[:7]) == (4, "[E0408]")


def test_answering_questions_and_picks(program: Program):
    """`respond ROOT` takes a name, a text or JSON; what does not fit decides nothing."""
    root, pick = started(program, "desk")
    assert pick["kind"] == "pick"
    wrong = program.run("respond", root, "--answer", "nobody")
    assert (wrong.returncode, wrong.stderr[:7]) == (1, "[E0421]")
    assert program.run("respond", root).returncode == 2  # nobody can be asked here
    assert 'answer: agent="asker"' in program.ok("respond", root, "--answer", "asker")
    asked(program, root, "ask_boss")
    answer = program.json("respond", root, "--answer", '{"answer": "yes"}', "--by", "ada")
    assert (answer["kind"], answer["answer"], answer["decided_by"]) == ("question", {"answer": "yes"}, "ada")
    asked(program, root, "pick_agent")
    program.ok("respond", root, "--answer", "DONE")
    found = program.until(root, "completed")
    assert "yes" in found["output"]


def test_several_that_wait_are_told_apart(program: Program):
    """`reject` on a root's id and on an approval's; a stranger's id is no root."""
    root, approval = started(program, "pair")
    assert "rejected" in program.ok("reject", approval["approval_id"][:12], "--reason", "not today")
    assert "not today" in program.until(root, "completed")["output"]
    assert program.run("approve", "x0nobody").returncode == 3


def test_watching_without_a_terminal(program: Program):
    """One line for each event of the tree, those of children with their agent's name."""
    root, _ = started(program, "pair")
    watching = program.popen("watch", root)
    lines: list[str] = []
    while not any("decide with" in line for line in lines):
        lines.append(watching.stdout.readline())
    assert f"decide with: perdure approve {root}" in lines[-1]
    program.ok("approve", root)
    rest, _ = watching.communicate(timeout=30)
    told = "".join(lines) + rest
    assert watching.returncode == 0
    for words in (
        "agent      echo started",
        "execution  echo: ",
        "tool       payer: pay asked for: amount=40",
    ):
        assert words in told
    assert told.rstrip().endswith("Done: paid 40")


def test_the_live_tree_asks_for_agents_below(program: Program):
    """`run` of a team nests the agent at work, shows whose question it is, and takes the key."""
    command = program.command("run", "pair", "Pay the bill")
    with in_terminal(command, program.environ, program.directory) as screen:
        screen.expect("agent payer, execution x")
        screen.expect("a approve   e edit the arguments   r reject   l later")
        screen.type("a")
        assert screen.end() == 0, screen.text
    last = screen.text[screen.text.rindex("● pair") :]
    assert "completed" in last.splitlines()[0]
    assert '→ "Done: paid 40"' in last


def test_the_live_tree_takes_answers(program: Program):
    """A pick and a question are answered with what is typed, and the run ends with what came of it."""
    with in_terminal(program.command("run", "desk", "Go"), program.environ, program.directory) as screen:
        for tool, typed in (
            ("pick_agent", "asker"),
            ("ask_boss", "yes, until Friday"),
            ("pick_agent", "DONE"),
        ):
            screen.expect(f"An answer is needed: {tool}")
            screen.expect("a answer   r reject   l later")
            screen.type("a")
            screen.expect("Answer (a text, or JSON): ")
            screen.type(f"{typed}\n")
        assert screen.end() == 0, screen.text
    assert "until Friday" in screen.text


def test_responding_in_a_terminal(program: Program):
    """`respond` without an answer shows the question and asks for it."""
    root, _ = started(program, "desk")
    with in_terminal(program.command("respond", root), program.environ, program.directory) as screen:
        screen.expect("Who is to speak next?")
        screen.expect("Answer (a text, or JSON): ")
        screen.type("echo\n")
        assert screen.end() == 0, screen.text
    assert asked(program, root, "pick_agent")["kind"] == "pick"
    program.ok("cancel", root)
