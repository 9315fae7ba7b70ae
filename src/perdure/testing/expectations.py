"""Expectations: what a run must have done, said in one chain, with a message that says what it did.

    expect(result).completed().used_tool("lookup", args={"order": "A-1"}).output_contains("on its way")

Each method returns the chain, or raises AssertionError. Of a `RunResult` (`mock_run`, `gather`) the whole tree is looked
at; of a plain `AgentResult` its own execution.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from perdure.agents.results import AgentEvent, AgentResult, EventType, Status
from perdure.core import events as ev
from perdure.testing.tree import RunResult

_LONGEST = 300


class _Outcome:
    """How it ended, and with what."""

    def __init__(self, result: AgentResult) -> None:
        self.result = result

    def _require(self, condition: bool, expected: str, found: str) -> Self:  # noqa: FBT001 - one call site each
        if not condition:
            raise AssertionError(f"expected {expected}\n  found: {found}\n{story(self.result)}")
        return self

    def completed(self) -> Self:
        """It ended with an answer."""
        return self.status(Status.COMPLETED)

    def failed(self, code: str | None = None) -> Self:
        """It ended with an error; with *code*, when one is given."""
        self.status(Status.FAILED)
        error = self.result.error
        found = "no error" if error is None else f"[{error.code}] {error.what}"
        return self._require(
            code is None or (error is not None and error.code == code), f"the error {code}", found
        )

    def status(self, status: str) -> Self:
        """It ended as *status*: completed, failed, cancelled."""
        error = "" if self.result.error is None else f": {self.result.error}"
        wanted = str(status).lower()
        return self._require(
            self.result.status.value == wanted, f"status {wanted}", f"{self.result.status.value}{error}"
        )

    def no_errors(self) -> Self:
        """It has no error, and no call of a tool ended in one; what was tried again and then done is none."""
        wrong = [] if self.result.error is None else [str(self.result.error)]
        wrong += [f"{c['name']}: {c['error'].get('what')}" for c in self.result.tool_calls if "error" in c]
        return self._require(not wrong, "no errors", "; ".join(wrong))

    def output_contains(self, text: str, *, case_sensitive: bool = True) -> Self:
        """The answer, as text, has *text* in it."""
        output = output_text(self.result)
        is_in = text in output if case_sensitive else text.casefold() in output.casefold()
        return self._require(is_in, f"{text!r} in the answer", _short(output))

    def output_matches(self, pattern: str) -> Self:
        """The regular expression is found in the answer, as text."""
        output = output_text(self.result)
        found = re.search(pattern, output) is not None
        return self._require(found, f"an answer that matches {pattern!r}", _short(output))

    def output_equals(self, value: Any) -> Self:
        """The answer is *value*."""
        return self._require(
            self.result.output == value, f"the answer {value!r}", _short(repr(self.result.output))
        )

    def output_type(self, kind: type) -> Self:
        """The answer is a *kind*."""
        output = self.result.output
        return self._require(
            isinstance(output, kind), f"an answer of type {kind.__name__}", repr(type(output))
        )

    def tokens_under(self, limit: int) -> Self:
        """All model calls together took fewer than *limit* tokens."""
        used = self.result.usage.total_tokens
        return self._require(used < limit, f"fewer than {limit} tokens", str(used))

    def cost_under(self, usd: float) -> Self:
        """All model calls together cost less than *usd* US dollars; not when a model without a known price was called."""
        cost = self.result.usage.cost_usd
        if cost is None:
            found = (
                "no known cost: a model was called that has no known price (give it one: Budget(prices=...))"
            )
        else:
            found = f"${cost:,.6f}"
        return self._require(cost is not None and cost < usd, f"a cost under ${usd:,.6f}", found)

    def max_turns(self, limit: int) -> Self:
        """No execution of the run had more than *limit* turns."""
        turns = _turns(self.result)
        return self._require(turns <= limit, f"at most {limit} turns", str(turns))


class _Tools(_Outcome):
    """What it called."""

    def _called(self) -> list[str]:
        return [call["name"] for call in self.result.tool_calls]

    def used_tool(
        self, name: str, args: Mapping[str, Any] | None = None, *, times: int | None = None
    ) -> Self:
        """It called the tool; with at least these arguments, and so many times, when they are given."""
        of_it = [call for call in self.result.tool_calls if call["name"] == name]
        self._require(bool(of_it), f"a call of {name}", f"calls of {self._called() or 'nothing'}")
        if args is not None:
            of_it = [c for c in of_it if _has(c.get("args") or {}, args)]
            found = [c.get("args") for c in self.result.tool_calls if c["name"] == name]
            self._require(bool(of_it), f"{name} called with {dict(args)}", f"it was called with {found}")
        return self._require(
            times is None or len(of_it) == times, f"{times} calls of {name}", f"{len(of_it)} calls"
        )

    def did_not_use_tool(self, name: str) -> Self:
        """It never called the tool."""
        return self._require(name not in self._called(), f"no call of {name}", f"calls of {self._called()}")

    def tool_call_order(self, names: Sequence[str]) -> Self:
        """It called these tools in this order, with anything between."""
        called = iter(self._called())
        in_order = all(name in called for name in names)
        return self._require(in_order, f"calls in the order {list(names)}", str(self._called()))

    def tools_used_exactly(self, names: Sequence[str]) -> Self:
        """It called these tools and no others, in any order, as often as each is named."""
        return self._require(
            sorted(self._called()) == sorted(names), f"exactly the calls {sorted(names)}", str(self._called())
        )

    def tool_result(self, name: str, value: Any) -> Self:
        """A call of the tool gave *value*."""
        found = [c.get("result", c.get("error")) for c in self.result.tool_calls if c["name"] == name]
        return self._require(value in found, f"{name} to give {value!r}", f"it gave {found}")


class _Happenings(_Tools):
    """What happened on the way."""

    def events_contain(self, kind: EventType | str, *, expected: bool = True, **attributes: Any) -> Self:
        """There is an event of *kind* with these attributes; with *expected* off: there is none."""
        found = [e for e in self.result.events if _is(e, kind, attributes)]
        what = f"{kind} {attributes}" if attributes else str(kind)
        said = f"an event {what}" if expected else f"no event {what}"
        return self._require(bool(found) == expected, said, _kinds(self.result))

    def event_sequence(self, kinds: Sequence[EventType | str]) -> Self:
        """Events of these kinds came in this order, with anything between."""
        seen = (str(e.type) for e in self.result.events)
        in_order = all(str(kind) in seen for kind in kinds)
        return self._require(in_order, f"events in the order {list(map(str, kinds))}", _kinds(self.result))

    def handoff_to(self, agent: str) -> Self:
        """Somebody handed over to *agent*, or a router picked it."""
        targets = [e.target for e in self.result.events if e.type == EventType.HANDOFF]
        return self._require(agent in targets, f"a handoff to {agent}", f"handoffs to {targets or 'nobody'}")

    def no_handoff_to(self, agent: str) -> Self:
        """Nobody handed over to *agent*."""
        targets = [e.target for e in self.result.events if e.type == EventType.HANDOFF]
        return self._require(agent not in targets, f"no handoff to {agent}", f"handoffs to {targets}")

    def agent_ran(self, agent: str, *, times: int | None = None) -> Self:
        """An execution of *agent* is part of the run; so many, when it is given."""
        ran = list(agents_of(self.result))
        count = ran.count(agent)
        right = count > 0 if times is None else count == times
        said = f"{agent} to run" if times is None else f"{agent} to run {times} times"
        return self._require(right, said, f"{ran} ran")

    def agent_did_not_run(self, agent: str) -> Self:
        """No execution of *agent* is part of the run."""
        ran = list(agents_of(self.result))
        return self._require(agent not in ran, f"{agent} not to run", f"{ran} ran")

    def guardrail_passed(self, name: str) -> Self:
        """The guardrail let something pass."""
        return self._guardrail(name, EventType.GUARDRAIL_PASS, "pass")

    def guardrail_failed(self, name: str) -> Self:
        """The guardrail did not let something pass."""
        return self._guardrail(name, EventType.GUARDRAIL_FAIL, "fail")

    def _guardrail(self, name: str, kind: EventType, word: str) -> Self:
        verdicts = [
            f"{e.guardrail_name}: {e.type.split('_')[-1]}"
            for e in self.result.events
            if e.guardrail_name is not None
        ]
        found = any(e.type == kind and e.guardrail_name == name for e in self.result.events)
        return self._require(found, f"the guardrail {name} to {word}", f"{verdicts or 'no verdicts'}")

    def approved(self, tool: str) -> Self:
        """A person let a call of the tool run."""
        return self._decided(tool, is_approved=True)

    def rejected(self, tool: str) -> Self:
        """A person did not let a call of the tool run."""
        return self._decided(tool, is_approved=False)

    def _decided(self, tool: str, *, is_approved: bool) -> Self:
        said = [(e.tool_name, e.approved) for e in self.result.events if e.type == EventType.APPROVAL]
        word = "approved" if is_approved else "rejected"
        return self._require(
            (tool, is_approved) in said, f"a call of {tool} to be {word}", f"decisions: {said}"
        )


class Expectation(_Happenings):
    """Expectations on one result; made by `expect`."""

    def __repr__(self) -> str:
        return f"expect({self.result.execution_id})"


def expect(result: AgentResult) -> Expectation:
    """Say what *result* must be: `expect(result).completed().used_tool("lookup")`."""
    return Expectation(result)


def agents_of(result: AgentResult) -> list[str]:
    """The agent of each execution of the run, the first one first.

    Raises:
        AssertionError: the result knows its own execution only.
    """
    if not isinstance(result, RunResult):
        raise AssertionError(  # noqa: TRY004 - the test is wrong, in the words of a test
            "this result knows only its own execution: use that of mock_run, or gather(result)"
        )
    return list(result.agents.values())


def output_text(result: AgentResult) -> str:
    """The answer as text: as it is, or as JSON."""
    output = result.output
    if output is None or isinstance(output, str):
        return output or ""
    dump = getattr(output, "model_dump", None)
    return json.dumps(output if dump is None else dump(mode="json"), ensure_ascii=False, default=str)


def story(result: AgentResult) -> str:
    """What happened, a line for each event, as a failing test shows it."""
    names = result.agents if isinstance(result, RunResult) else {}
    lines = ["  what happened:"]
    for event in result.events:
        what = event.tool_name or event.target or event.guardrail_name or ""
        if event.args is not None and event.type == EventType.TOOL_CALL:
            what += f"({', '.join(f'{k}={v!r}' for k, v in event.args.items())})"
        said = event.content or (repr(event.result) if event.result is not None else "")
        said = said or (repr(event.output) if event.output is not None else "")
        who = f"{names[event.execution_id]} " if event.execution_id in names else ""
        lines.append(f"    {who}{event.type} {what} {_short(said)}".rstrip())
    return "\n".join(lines)


def _turns(result: AgentResult) -> int:
    if isinstance(result, RunResult) and result.tree is not None:
        return max(
            sum(isinstance(e, ev.ModelCompleted) and e.step.startswith("t") for e in node.events)
            for node in result.tree.walk()
        )
    return sum(message.get("role") == "assistant" for message in result.messages)


def _has(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(key in found and found[key] == value for key, value in wanted.items())


def _is(event: AgentEvent, kind: EventType | str, attributes: Mapping[str, Any]) -> bool:
    return str(event.type) == str(kind) and all(getattr(event, k) == v for k, v in attributes.items())


def _kinds(result: AgentResult) -> str:
    return str([str(e.type) for e in result.events])


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
