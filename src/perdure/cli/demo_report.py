"""What the demonstration may claim: counted from the ledger and the events, never taken for granted."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.cli.view import View
from perdure.wire.types import EventRecord


class Call(msgspec.Struct, frozen=True):
    """One tool call, told apart by its idempotency key.

    Attributes:
        attempts: how often a worker began it.
        effects: how often it happened in the world outside.
        recorded: how many results of it the journal holds.
    """

    tool: str
    key: str
    attempts: int
    effects: int
    recorded: int

    @property
    def doubled(self) -> bool:
        """Whether the world was changed more often than once."""
        return self.effects > 1

    @property
    def untrue(self) -> bool:
        """Whether the journal says something else than the world."""
        return self.recorded > self.effects


class Report(msgspec.Struct, frozen=True):
    """The outcome of a demonstration.

    Attributes:
        killed_in: the tool that ran when everything was killed; None: nothing was killed in mid-tool.
            A real model is free to answer without a tool, so that there is no middle to hit.
        seq_before: the last event that was durable at the kill.
        seq_after: the last event of all.
        kept: steps that had their result at the kill.
        redone: those of them that were run again all the same.
    """

    execution_id: str
    status: str
    model: str
    killed_in: str | None
    seq_before: int
    seq_after: int
    kept: list[str]
    redone: list[str]
    calls: list[Call]

    @property
    def doubled(self) -> list[Call]:
        """Calls that happened more often than once."""
        return [c for c in self.calls if c.doubled]

    @property
    def good(self) -> bool:
        """Whether everything was as it must be."""
        lies = self.doubled or [c for c in self.calls if c.untrue]
        hit = self.killed_in is not None or not self.model.startswith("mock/")
        return self.status == "completed" and hit and not lies and not self.redone


def count_calls(entries: Sequence[dict[str, Any]], view: View) -> list[Call]:
    """The calls of the ledger in the order in which they began."""
    keys = dict.fromkeys((str(e["tool"]), str(e["key"])) for e in entries)
    done = [n.key for n in view.nodes if n.kind == "tool" and n.state == "done"]
    return [
        Call(
            tool,
            key,
            attempts=sum(e["what"] == "started" and e["key"] == key for e in entries),
            effects=sum(e["what"] == "effect" and e["key"] == key for e in entries),
            recorded=done.count(key),
        )
        for tool, key in keys
    ]


def steps_with_results(view: View) -> list[str]:
    """Ids of the steps that need never run again."""
    return [n.step for n in view.nodes if n.settled]


def run_again(kept: Sequence[str], events: Sequence[EventRecord], after_seq: int) -> list[str]:
    """Which of the steps *kept* began again after position *after_seq*."""
    begun = {
        str(e.event.get("step"))
        for e in events
        if e.seq > after_seq and e.event.get("kind") in {"model_requested", "tool_started"}
    }
    return [step for step in kept if step in begun]
