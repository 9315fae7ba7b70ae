"""The live tree: lines of an execution's view, as rich texts.

    ● support x06f…  running 12.4s  3 steps  2.1k tokens
    ├─ ✓ model mock/support  0.3s  812 tokens
    │  ├─ ✓ lookup_order  order_id="4411"  1.5s  → status="delivered"
    │  └─ ⏸ refund  order_id="4411", amount=40.0  waits for approval 3.1s
    └─ ⠋ model  1.2s
          I have looked up the order and …

A pure function of the view, the time and the size: `tree` gives the lines, the caller prints them. Every text
that comes from outside goes through `perdure.cli.text`, and no rich markup is ever parsed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rich.text import Text

from perdure.cli import text
from perdure.cli.forest import doing
from perdure.cli.nodes import Approval, Node, Turn
from perdure.cli.plain import error_words
from perdure.cli.times import clock_time, date_time, span
from perdure.cli.view import View

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAME_MS = 100
STREAM_LINES = 3
NESTED_TURNS = 3  # of each agent that is at work
TEAM_LINES = 100  # of a conversation of a thousand turns the live tree shows the end
ONE_LINE = 100
_GLYPHS = {
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "refused": ("✗", "yellow"),
    "approval": ("⏸", "yellow"),
}
_GLYPHS |= {"message": ("⏸", "yellow"), "session": ("⏸", "yellow")}
_GLYPHS |= {"retry": ("↻", "yellow"), "queued": ("○", "cyan"), "rejected": ("✗", "yellow")}
_AGENT_STATES = {"done": "completed"}
_STATUS_STYLE = {
    "completed": "green",
    "failed": "red",
    "cancelled": "red",
    "quarantined": "red",
    "paused": "yellow",
}


@dataclass(frozen=True)
class Detail:
    """How much is shown.

    Attributes:
        limit: characters of one value; None: all of it.
        story: what `show` adds; below, every agent's steps, those of agents that have ended too.
        below: the executions below it that are known, by id; they are nested under the step that asked for them.
    """

    limit: int | None = 60
    story: bool = False
    below: Mapping[str, View] = field(default_factory=dict)


LIVE = Detail()


def tree(view: View, now_ms: int, *, detail: Detail = LIVE, turns: int | None = None) -> list[Text]:
    """The lines of the tree; of more than *turns* turns only the last ones, and how many came before."""
    lines = [_header(view, now_ms, detail)]
    if detail.story:
        lines += _labelled("│  ", "prompt", text.block(view.prompt))
    shown = view.turns if turns is None else view.turns[-turns:]
    if len(shown) < len(view.turns):
        lines.append(Text(f"⋮  {len(view.turns) - len(shown)} earlier turns", "dim"))
    for turn in shown:
        last = turn is shown[-1]
        lines += _turn(view, turn, now_ms, "└─ " if last else "├─ ", "   " if last else "│  ", detail)
    return lines


def closing(view: View) -> list[Text]:
    """What is printed once at the end: the answer or the error, whole."""
    if view.ending == "completed":
        return [Text(text.pretty(view.output))]
    if view.ending == "failed":
        lines = error_lines(view)
        if view.partial:
            lines += _labelled("", "the agent's last text", text.block(view.partial))
        return lines
    if view.ending == "cancelled":
        return [
            Text(
                f"Cancelled by {text.line(view.halted_by)}"
                + (f": {text.line(view.reason)}" if view.reason else "")
            )
        ]
    return []


def error_lines(view: View) -> list[Text]:
    """The error of a failed or quarantined execution in the coded form."""
    error = view.error
    if error is None:
        return []
    lines = [Text(f"[{error.code}] {text.line(error.what)}", "red")]
    for label, words in (("where", error.where), ("why", error.why), ("fix", error.fix)):
        lines += [Text(f"  {label}: {text.block(words)}")] if words else []
    return lines


def question(node: Node, approval: Approval) -> list[Text]:
    """An approval as a person must see it: everything that would run, nothing left out."""
    needed = "An answer is" if approval.asks in {"question", "pick"} else "Approval"
    lines = [Text(f"{needed} needed: {text.line(node.name)}", "bold yellow")]
    if approval.agent:
        lines.append(Text(f"  agent {text.line(approval.agent)}, execution {approval.execution_id}", "dim"))
    if approval.unknown_epoch is not None:
        words = f"Attempt {approval.unknown_epoch} may have taken effect already. Approve to run it again."
        if not approval.unknown_epoch:
            words = "The replay's recording does not have this call. Approve to make it."
        lines.append(Text(f"  {words}", "yellow"))
    lines += [Text(f"  {row}") for row in text.pretty(approval.arguments).splitlines()]
    if approval.answer_schema is not None and approval.asks in {"question", "pick"}:
        lines.append(Text(f"  the answer must fit {text.compact(approval.answer_schema)}", "dim"))
    lines.append(Text(f"  approval {approval.approval_id}", "dim"))
    return lines


def _header(view: View, now_ms: int, detail: Detail) -> Text:
    status = doing(view, detail.below)
    steps = "1 step" if view.steps == 1 else f"{view.steps} steps"
    header = Text("● ", _STATUS_STYLE.get(status, "cyan"))
    header.append(text.line(view.agent or "…", 60), "bold")
    header.append(f" {view.execution_id}  ", "dim")
    header.append(status.replace(":", " for "), _STATUS_STYLE.get(status, "cyan"))
    header.append(f" {span(view.started_ms, view.ended_ms, now_ms)}  {steps}")
    header.append(f"  {text.count(view.usage.total_tokens)} tokens")
    if view.halted:
        header.append(f"  by {text.line(view.halted_by, 40)}" if view.halted_by else "")
        header.append(f"  {text.line(view.reason, 60)}" if view.reason else "")
        header.append(f"  {error_words(view.error)}" if view.error else "")
    return header


def _turn(view: View, turn: Turn, now_ms: int, branch: str, stem: str, detail: Detail) -> list[Text]:
    lines = []
    if turn.model:
        lines.append(_node(view, turn.model, now_ms, branch, detail))
        lines += _model_below(
            turn.model, stem + ("│  " if turn.tools else "   "), detail, ended=bool(view.ending)
        )
    else:
        words = f"turn {turn.number}" if turn.number else f"team {text.line(view.strategy, 60)}"
        lines.append(Text(branch + words, "dim"))
    nodes = turn.tools if detail.story else turn.tools[-TEAM_LINES:]
    if len(nodes) < len(turn.tools):
        lines.append(Text(f"{stem}⋮  {len(turn.tools) - len(nodes)} earlier steps", "dim"))
    for node in nodes:
        last = node is turn.tools[-1]
        lines.append(_node(view, node, now_ms, stem + ("└─ " if last else "├─ "), detail))
        deeper = stem + ("   " if last else "│  ")
        lines += _tool_below(node, deeper, detail)
        lines += _agent_below(node, now_ms, deeper, detail)
    return lines


def _agent_below(node: Node, now_ms: int, stem: str, detail: Detail) -> list[Text]:
    """What an agent does in its own execution; in the live tree only as long as it does."""
    child = detail.below.get(node.child_id)
    if child is None or not (detail.story or child.ending is None):
        return []
    lines = []
    nested = replace(detail, story=False, limit=LIVE.limit)
    turns = child.turns if detail.story else child.turns[-NESTED_TURNS:]
    for turn in turns:
        last = turn is turns[-1]
        branch, deeper = ("└─ ", "   ") if last else ("├─ ", "│  ")
        lines += _turn(child, turn, now_ms, stem + branch, stem + deeper, nested)
    return lines


def _node(view: View, node: Node, now_ms: int, branch: str, detail: Detail) -> Text:
    row = Text(branch, "dim")
    if node.kind == "note":
        return row.append("· " + text.line(node.name, 200), "dim")
    dropped = view.ending is not None and not node.settled
    waits = "" if dropped else _waits(node, detail)
    if dropped:
        row.append("- ", "dim")
    elif waits:
        row.append("⏸ ", "yellow")
    elif node.state == "running":
        row.append(SPINNER[now_ms // FRAME_MS % len(SPINNER)] + " ", "cyan")
    else:
        glyph, style = _GLYPHS[node.state]
        row.append(glyph + " ", style)
    row.append(
        f"model {text.line(node.name, 60)}"
        if node.kind == "model" and node.name != "model"
        else text.line(node.name, 60),
        "bold",
    )
    if node.kind == "agent":
        row.append(f"  {node.child_id}", "dim")
        if detail.story and not (dropped or waits):
            row.append(f"  {_AGENT_STATES.get(node.state, node.state)}")
    elif node.kind == "tool" and not detail.story and node.arguments:
        row.append("  " + text.compact(node.arguments, detail.limit), "dim")
    if node.began_ms is not None and node.state != "approval":
        row.append("  " + span(node.began_ms, node.ended_ms or view.ended_ms, now_ms))
    if tokens := _tokens(node, detail):
        row.append(f"  {text.count(tokens)} tokens")
    if node.attempts > 1:
        row.append(f"  attempt {node.attempts}" + (f" ({node.lost} lost)" if node.lost else ""), "dim")
    if not dropped:
        row.append(f"  {waits}" if waits else "", "yellow")
        _append_outcome(row, node, now_ms, detail)
    return row


def _waits(node: Node, detail: Detail) -> str:
    """What an agent that goes on waits for, in words."""
    child = detail.below.get(node.child_id)
    if child is None or node.settled:
        return ""
    status = doing(child, detail.below)
    return f"waits for {status.removeprefix('waiting:')}" if status.startswith("waiting:") else ""


def _tokens(node: Node, detail: Detail) -> int:
    """Of an agent that goes on: so far."""
    child = detail.below.get(node.child_id)
    return child.usage.total_tokens if child is not None and not node.settled else node.usage.total_tokens


def _append_outcome(row: Text, node: Node, now_ms: int, detail: Detail) -> None:
    if node.state == "done" and node.kind not in {"model", "aside"} and not detail.story:
        row.append("  → " + text.compact(node.result, detail.limit), "dim")
    elif node.state in {"failed", "refused"} and node.error and not detail.story:
        row.append("  " + error_words(node.error), "red" if node.state == "failed" else "yellow")
    elif node.state == "rejected" and not detail.story:
        last = node.approvals[-1]
        row.append(
            f"  rejected by {text.line(last.by, 40)}"
            + (f": {text.line(last.reason, 80)}" if last.reason else ""),
            "yellow",
        )
    elif node.state == "approval":
        row.append("  waits for approval " + span(node.since_ms, None, now_ms), "yellow")
    elif node.state == "retry" and node.retry_at_ms is not None:
        row.append(f"  again in {text.duration(node.retry_at_ms - now_ms)}", "yellow")
        if node.failures:
            row.append("  " + error_words(node.failures[-1].error), "dim")
    elif node.state in {"message", "session"}:
        what = "a message" if node.state == "message" else "it to end"
        row.append(f"  waits for {what} " + span(node.since_ms, None, now_ms), "yellow")
    elif node.state == "queued":
        what = "the model" if node.kind == "model" else "a worker"
        row.append(f"  waits for {what} " + span(node.since_ms, None, now_ms), "cyan")


def _model_below(node: Node, stem: str, detail: Detail, *, ended: bool) -> list[Text]:
    if detail.story:
        lines = _labelled(stem, "thought", text.block(node.reasoning.text)) if node.reasoning.text else []
        lines += _labelled(stem, "said", text.block(node.text.text)) if node.text.text else []
        lines += _attempts(node, stem)
        return lines + [Text(f"{stem}output rejected: {text.line(e)}", "yellow") for e in node.output_errors]
    if node.state != "running" or ended:
        return []
    streaming = node.text.text or node.reasoning.text
    rows = text.block(streaming[-1_000:]).splitlines()[-STREAM_LINES:]
    return [Text(stem, "dim").append(row[-200:], "italic") for row in rows]


def _tool_below(node: Node, stem: str, detail: Detail) -> list[Text]:
    if not detail.story or node.kind == "note":
        return []
    lines = _value(stem, "arguments", node.arguments, detail) if node.arguments is not None else []
    lines += [Text(f"{stem}key       {node.key}", "dim")] if node.key else []
    lines += _attempts(node, stem)
    for approval in node.approvals:
        asked = f"approval  {approval.approval_id} asked {date_time(approval.requested_ms)}"
        lines.append(Text(stem + asked, "yellow"))
        if approval.decision:
            at = date_time(approval.decided_ms or approval.requested_ms)
            edited = " with edited arguments" if approval.edited else ""
            words = f"{approval.decision}{edited} by {text.line(approval.by)} ({text.line(approval.channel)}) {at}"
            reason = f": {text.line(approval.reason)}" if approval.reason else ""
            lines.append(Text(f"{stem}          {words}{reason}", "yellow"))
    if node.kind == "aside":
        lines += _labelled(stem, "said", text.block(node.text.text)) if node.text.text else []
    elif node.state == "done":
        lines += _value(stem, "result", node.result, detail)
    elif node.error:
        lines.append(Text(f"{stem}error     {error_words(node.error)}", "red"))
    return lines


def _attempts(node: Node, stem: str) -> list[Text]:
    lines = [
        Text(f"{stem}attempt {f.attempt} failed {clock_time(f.at_ms)}: {error_words(f.error)}", "dim")
        for f in node.failures
    ]
    if node.worker:
        lines.append(Text(f"{stem}worker    {text.line(node.worker, 80)}", "dim"))
    return lines


def _value(stem: str, label: str, value: object, detail: Detail) -> list[Text]:
    """A JSON value: on one line when it fits, else over several."""
    short = text.compact(value)
    words = short if len(short) <= ONE_LINE else text.clip(text.pretty(value), detail.limit)
    return _labelled(stem, label, words)


def _labelled(stem: str, label: str, words: str) -> list[Text]:
    rows = words.splitlines() or [""]
    if len(rows) == 1:
        return [Text(stem, "dim").append(f"{label:<9} ", "dim").append(rows[0])]
    head = Text(stem, "dim").append(label, "dim")
    return [head, *(Text(stem, "dim").append("  " + row) for row in rows)]
