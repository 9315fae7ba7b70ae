"""Teams for the contract of the engine: plans by name, and a model that answers by the agent that asks."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from perdure.core.ids import content_hash
from perdure.core.messages import Message, TextPart, user
from perdure.core.model import ModelRef, ModelReply, ModelRequest, Usage
from perdure.core.plan import Member, Plan, ToolPlan
from perdure.engine.ports import StartRequest
from tests.contract.engine.engine_harness import QUICK, OnDelta, reply
from tests.unit.core.plans import plan, tool

Say = str | ModelReply | Callable[[ModelRequest, OnDelta], Awaitable[ModelReply]]


class Cast:
    """`Models` that answers by the name of the model, which is that of the agent: its n-th answer, the last for ever.

    An agent without lines says its name and how often it has spoken. `requests` has every call that was made.
    """

    def __init__(self, **lines: Say | list[Say]) -> None:
        self.lines = {name: said if isinstance(said, list) else [said] for name, said in lines.items()}
        self.requests: list[ModelRequest] = []
        self.closed = False

    def check(self, model: ModelRef) -> None:
        """Every model can be called."""

    def of(self, agent: str) -> list[ModelRequest]:
        """The calls for one agent."""
        return [r for r in self.requests if r.model.name == agent]

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        name = request.model.name
        self.requests.append(msgspec.structs.replace(request, messages=list(request.messages)))
        made = len({(r.execution_id, r.step) for r in self.of(name)})
        if name not in self.lines:
            return ModelReply(Message("assistant", (TextPart(f"{name} {made}"),)), Usage(10, 5), "stop")
        said = self.lines[name][min(made, len(self.lines[name])) - 1]
        if isinstance(said, str):
            return reply(said)
        return said if isinstance(said, ModelReply) else await said(request, on_delta)

    async def aclose(self) -> None:
        self.closed = True


class Book:
    """Plans that know each other by their hashes, as the compiler makes them."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}

    def keep(self, made: Plan) -> Member:
        """Put a plan in; gives its row in a team."""
        plan_hash = content_hash(made)
        self.plans[plan_hash] = made
        return Member(made.agent, plan_hash)

    def agent(self, name: str, *tools: tuple[str, ToolPlan], **changed: Any) -> Member:
        """An agent with a model of its own name."""
        return self.keep(solo(name, *tools, **changed))

    def request(self, root: Plan, prompt: str = "Hello.", **fields: Any) -> StartRequest:
        """A start of a team."""
        return StartRequest(root, content_hash(root), user(prompt), "tester", members=self.plans, **fields)


def solo(name: str, *tools: tuple[str, ToolPlan], **changed: Any) -> Plan:
    """The plan of an agent whose model has its name."""
    fields = {"agent": name, "model": ModelRef("mock", name), "tools": dict(tools), "model_retry": QUICK}
    return plan(**{**fields, **changed})


def call_of(member: Member, name: str = "", **policy: Any) -> tuple[str, ToolPlan]:
    """A tool that calls an agent."""
    schema = {"type": "object", "properties": {"request": {"type": "string"}}}
    return tool(name or f"ask_{member.name}", schema, kind="agent", agent=member, **policy)
