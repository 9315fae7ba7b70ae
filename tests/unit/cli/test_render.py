"""The two renderers: the tree, and one line per event."""

import re

import msgspec
import pytest

from perdure.cli import plain, render
from perdure.cli.forest import Forest, doing
from perdure.cli.view import View
from perdure.core import events as ev
from perdure.core.messages import user
from tests.unit.cli import records as r
from tests.unit.cli.test_text import ATTACKS, is_harmless

NOW = r.T0 + 100_000


def view_of(*events) -> View:
    """The view of these events."""
    view = View(r.ID)
    for record in r.records(*events):
        view.apply(record)
    return view


def shown(view: View, **options) -> list[str]:
    """The tree's lines as text."""
    return [row.plain for row in render.tree(view, NOW, **options)]


def test_a_run_in_the_middle():
    """Each step has a line under its turn, with its state, its time and what it is about."""
    view = view_of(
        r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.QUESTION, r.LOOKUP_STARTED, r.LOOKUP_DONE,
    )  # fmt: skip
    assert shown(view) == [
        f"● support {r.ID}  waiting for approval 99.0s  2 steps  1.1k tokens".replace("99.0s", "1m39s"),
        "└─ ✓ model mock  1.0s  1.1k tokens",
        "   ├─ ✓ lookup  id=1  3.0s  → found=true",
        "   └─ ⏸ refund  amount=40  waits for approval 1m35s",
    ]


def test_retries_and_losses_are_seen():
    """A step that waits for its next attempt says when and why; an attempt after a loss says so."""
    failed = ev.ToolFailed("t1.c0", 1, r.ERROR, NOW + 2_000)
    rows = shown(view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, failed))
    assert "↻ lookup" in rows[-1]
    assert "again in 2.0s  [E0301] The tool raised an error: KeyError: 'x'" in rows[-1]
    lost = [ev.ToolLost("t1.c0", 1, "silent"), ev.ToolStarted("t1.c0", 2, "w2")]
    rows = shown(view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, *lost))
    assert rows[-1].endswith("attempt 2 (1 lost)")
    waiting = ev.ToolLost("t1.c0", 4, "silent", retry_at_ms=NOW + 2_000)
    rows = shown(view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, waiting))
    assert "again in 2.0s" in rows[-1]


def test_streaming_text_is_under_its_step():
    """The last lines of an answer in flight are shown below the model's line."""
    view = view_of(r.STARTED, r.ASKED)
    view.apply(r.delta("one\ntwo\nthree\nfour", 0))
    assert [row.strip() for row in shown(view)[-3:]] == ["two", "three", "four"]


def test_early_turns_are_folded():
    """Of many turns only the last ones are shown, and how many came before."""
    events = [r.STARTED]
    for turn in range(1, 11):
        events += [ev.ModelRequested(f"t{turn}.m", turn)]
    rows = shown(view_of(*events), turns=3)
    assert rows[1] == "⋮  7 earlier turns"
    assert len(rows) == 5


def test_what_was_dropped_at_the_end_does_not_spin():
    """Steps that ran when the execution ended are marked, not shown as running."""
    rows = shown(
        view_of(r.STARTED, r.ASKED, r.CALLS, r.LOOKUP, r.LOOKUP_STARTED, ev.ExecutionCancelled("ada"))
    )
    assert rows[-1].startswith("   └─ - lookup")
    assert not any(c in rows[-1] for c in render.SPINNER)


def test_the_story_leaves_nothing_out():
    """The detailed tree has prompt, arguments, keys, workers, attempts, approvals, results and errors."""
    told = "\n".join(shown(view_of(*r.ALL_KINDS[:-2]), detail=render.Detail(limit=None, story=True)))
    for words in (
        "Refund A-1001", "thought   hm", "said      Let me see.", "arguments id=1", "key       ik_0", "worker    w2",
        "attempt 1 failed", "approval  a1", "approved with edited arguments by ada (cli)", "result    found=true",
        "[E0304] There is no tool named nope", "output rejected: amount: missing", "[E0206]",
    ):  # fmt: skip
        assert words in told, told


def test_the_end_is_told_whole():
    """The answer is printed as it is, an error in the coded form with its fix."""
    assert [t.plain for t in render.closing(view_of(r.STARTED, r.COMPLETED))] == ["Done."]
    failed = view_of(r.STARTED, ev.ExecutionFailed(r.ERROR, partial="half a text"))
    assert [t.plain for t in render.closing(failed)][:4] == [
        "[E0301] The tool raised an error", "  where: tool refund", "  why: KeyError: 'x'", "  fix: Mend it.",
    ]  # fmt: skip
    cancelled = view_of(r.STARTED, ev.ExecutionCancelled("ada", "enough"))
    assert [t.plain for t in render.closing(cancelled)] == ["Cancelled by ada: enough"]
    assert render.closing(view_of(r.STARTED)) == []


def test_a_question_shows_everything_that_would_run():
    """The arguments of an approval are never clipped."""
    long = ev.ApprovalRequested("t1.c1", "c1", "refund", {"note": "n" * 5_000, "amount": 40}, "a1", "h1")
    (node,) = view_of(r.STARTED, r.ASKED, r.CALLS, long).approvals
    told = "\n".join(t.plain for t in render.question(node, node.open_approval))
    assert "n" * 5_000 in told
    assert '"amount": 40' in told


def test_every_event_has_a_line():
    """Each kind of event gives exactly one line with its time, its position and its subject."""
    view = View(r.ID)
    for record in r.records(*r.ALL_KINDS):
        view.apply(record)
        line = plain.event_line(view, record)
        assert re.match(
            rf"\d\d:\d\d:\d\d +{record.seq}  (execution|model|tool|approval|function|agent|team|guardrail|"
            r"callback|replaced|budget|plan|message|session) ",
            line,
        ), line
        assert "\n" not in line


def test_an_unknown_event_has_a_line_too():
    """A kind that this release does not know is printed with its fields."""
    view = View(r.ID)
    record = r.record(1, {"kind": "budget_spent", "usd": 1})
    view.apply(record)
    assert plain.event_line(view, record).endswith("1  budget_spent usd=1")


def test_a_team_has_a_line_for_each_agent_and_decision():
    """Agents stand under their team with their execution, time, tokens and answer; decisions between them."""
    view = view_of(
        r.TEAM, r.CHOSEN, r.CHILD, r.CHILD_DONE, ev.GateDecided("writer", open=True),
        ev.AgentChosen("critic", "router"), ev.ChildRequested("c2", "x01other", "critic", user("Judge it.")),
    )  # fmt: skip
    assert shown(view) == [
        f"● paper {r.ID}  waiting for child 1m39s  1 step  42 tokens",
        "└─ team router",
        "   ├─ · writer goes on, chosen by router",
        '   ├─ ✓ writer  x01child  1.0s  42 tokens  → "A poem."',
        "   ├─ · the gate of writer is open",
        "   ├─ · critic goes on, chosen by router",
        "   └─ ⠋ critic  x01other  1m33s",
    ]


def test_a_long_conversation_is_shown_from_its_end():
    """The live tree leaves out the beginning and says so; the story has all of it."""
    turns = [ev.AgentChosen(f"a{n}", "order") for n in range(250)]
    view = view_of(r.TEAM, *turns)
    rows = shown(view)
    assert "⋮  150 earlier steps" in rows[2]
    assert len(rows) == 103
    assert len(shown(view, detail=render.Detail(None, story=True))) > 250


def test_a_question_to_a_person_says_so():
    """It asks for an answer, not for leave."""
    asked = ev.ApprovalRequested("t1.c1", "c1", "ask", {"q": "When?"}, "a1", "h1", asks="question")
    (node,) = view_of(r.STARTED, r.ASKED, r.CALLS, asked).approvals
    assert render.question(node, node.open_approval)[0].plain == "An answer is needed: ask"


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_dangerous_is_rendered(attack: str):
    """S-20: whatever field the attack is in, neither renderer lets it through."""
    error = ev.ErrorInfo("E0301", attack, where=attack, why=attack, fix=attack)
    events = [
        ev.ExecutionStarted(attack, "h", user(attack), attack),
        r.ASKED,
        ev.ModelFailed("t1.m", 1, error, NOW),
        ev.ModelLost("t1.m", 1, attack),
        ev.ToolRequested("t1.c0", "c0", attack, {attack: attack}, "ik"),
        ev.ToolStarted("t1.c0", 1, attack),
        ev.ToolFailed("t1.c0", 1, error, NOW),
        ev.ToolCompleted("t1.c0", 1, {attack: attack}),
        ev.ToolRefused("t1.c2", "c", attack, error),
        ev.ApprovalRequested("t1.c1", "c1", attack, {attack: attack}, "a1", "h1"),
        ev.FunctionRequested("t1.stop", attack, attack, {attack: attack}, "ik"),
        ev.ChildRequested("t1.c3", "x2", attack, user(attack)),
        ev.ChildFailed("t1.c3", error),
        ev.AgentChosen(attack, attack, attack),
        ev.GateDecided(attack, open=False, reason=attack),
        ev.AnswerRefused("t1.m", attack, attack),
        ev.ExecutionPaused(attack, attack),
    ]
    late = [
        ev.ApprovalDecided("t1.c1", "a1", "rejected", attack, attack, "h", reason=attack),
        ev.ExecutionQuarantined(error),
        ev.OutputRejected("t1.m", (attack,)),
        ev.ExecutionFailed(error, attack, attack),
        ev.ExecutionCancelled(attack, attack),
        ev.ExecutionCompleted({attack: attack}),
        {"kind": attack, attack: attack},
    ]
    view = View(r.ID)
    for seq, event in enumerate([*events, *late], 1):
        record = r.record(seq, event)
        view.apply(record)
        view.apply(r.delta(attack, 0))
        assert is_harmless(plain.event_line(view, record), lines=False)
        for rows in (
            shown(view),
            shown(view, detail=render.Detail(limit=None, story=True)),
            [t.plain for t in render.closing(view)],
            [t.plain for n in view.approvals for t in render.question(n, n.open_approval)],
        ):
            assert all(is_harmless(row, lines=True) for row in rows)


def forest_of(*told: tuple[str, list]) -> Forest:
    """The forest of these executions' events."""
    forest = Forest(told[0][0])
    for execution_id, events in told:
        for record in r.records(*events):
            forest.apply(msgspec.structs.replace(record, execution_id=execution_id))
    return forest


TEAM = [r.TEAM, r.CHILD, r.CHILD_DONE, ev.ChildRequested("c2", "x2", "support", user("Refund"))]
WRITER = [
    ev.ExecutionStarted("writer", "h", user("Write"), "execution:x0"), r.ASKED, ev.ExecutionCompleted("A poem."),
]  # fmt: skip
ASKING = [r.STARTED, r.ASKED, r.CALLS, r.QUESTION]


def test_agents_below_are_nested_while_they_work():
    """The live tree has the steps of an agent at work under its line, and says what it waits for; one that has ended is a line."""
    forest = forest_of(("x0", TEAM), ("x01child", WRITER), ("x2", ASKING))
    detail = render.Detail(below=forest.views)
    assert shown(forest.root, detail=detail) == [
        "● paper x0  waiting for approval 1m39s  1 step  42 tokens",
        "└─ team router",
        '   ├─ ✓ writer  x01child  1.0s  42 tokens  → "A poem."',
        "   └─ ⏸ support  x2  1m36s  1.1k tokens  waits for approval",
        "      └─ ✓ model mock  1.0s  1.1k tokens",
        "         └─ ⏸ refund  amount=40  waits for approval 1m36s",
    ]
    (node,) = forest.approvals
    asked = [row.plain for row in render.question(node, node.open_approval)]
    assert asked[1] == "  agent support, execution x2"


def test_a_team_is_at_work_when_one_of_its_agents_is():
    """Its status is that of its agents; without what is known of them it is the journal's word."""
    forest = forest_of(("x0", TEAM), ("x2", [r.STARTED, r.ASKED]))
    assert doing(forest.root, forest.views) == "running"
    assert doing(forest.root, {}) == forest.root.status == "waiting:child"
    assert doing(forest_of(("x0", TEAM), ("other", [r.STARTED])).root, forest.views) == "running"


def test_the_story_has_every_agent_below():
    """`show` nests those that have ended, too, each with its status and tokens."""
    forest = forest_of(("x0", TEAM), ("x01child", WRITER), ("x2", ASKING))
    rows = "\n".join(shown(forest.root, detail=render.Detail(None, story=True, below=forest.views)))
    assert "✓ writer  x01child  completed  1.0s  42 tokens" in rows
    assert "   │  └─ - model" in rows
    alone = "\n".join(shown(forest.root, detail=render.Detail(None, story=True)))
    assert "model" not in alone
    assert "waiting for child" in alone


def test_nothing_is_asked_once_the_root_has_ended():
    """Its children are cancelled with it."""
    forest = forest_of(("x0", [*TEAM, ev.ExecutionCancelled("ada")]), ("x2", ASKING))
    assert forest.approvals == []


def test_lines_of_agents_below_name_them():
    """In a log of several executions each line of a child says whose it is."""
    view = view_of(*ASKING)
    record = r.records(*ASKING)[-1]
    assert "approval   support: a1 waits: refund amount=40" in plain.event_line(view, record, "support")
