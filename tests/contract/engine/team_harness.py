"""Teams over the engine's ports: agents that each say what their own script says, compiled as the server does."""

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.compiler.compile import compile_definition
from perdure.core.definition import AgentDefinition, HookName
from perdure.core.events import AnyEvent, Recorded, kind_of
from perdure.core.ids import content_hash
from perdure.core.messages import user
from perdure.core.model import ModelReply, ModelRequest
from perdure.engine.ports import StartRequest
from tests.contract.engine.engine_harness import Harness, OnDelta, reply
from tests.contract.engine.guard_harness import JudgedModel


class CastModel(JudgedModel):
    """A model for each agent: the script of the agent whose name its instructions begin with."""

    def __init__(self, cast: Mapping[str, Sequence[str | ModelReply]]) -> None:
        super().__init__()
        self._cast = {
            name: [reply(s) if isinstance(s, str) else s for s in said] for name, said in cast.items()
        }

    async def complete(self, request: ModelRequest, on_delta: OnDelta) -> ModelReply:
        if request.output_name != "Verdict":
            self.turns = list(self._cast[request.instructions.split(".")[0]])
        return await super().complete(request, on_delta)

    def shown_to(self, agent: str) -> list[ModelRequest]:
        """The requests of one agent."""
        return [r for r in self.requests if r.instructions.split(".")[0] == agent]


def agent(name: str, **fields: Any) -> AgentDefinition:
    """An agent whose instructions are its name and a full stop."""
    return AgentDefinition(name, "mock/m", instructions=f"{name}.", **fields)


async def cast(h: Harness, **said: Sequence[str | ModelReply]) -> CastModel:
    """An engine over the models of a cast."""
    h.model = model = CastModel(said)
    await h.open()
    return model


async def play(h: Harness, team: AgentDefinition, prompt: str = "Hello.", **request: Any) -> str:
    """Start a team."""
    bundle = compile_definition(team)
    made = StartRequest(
        bundle.plan, content_hash(bundle.plan), user(prompt), "tester", members=bundle.members, **request
    )
    return (await h.executions.start(made)).execution_id


HOOKS: tuple[HookName, ...] = (
    "before_agent",
    "after_agent",
    "before_model",
    "after_model",
    "before_tool",
    "after_tool",
)


async def tree(h: Harness, execution_id: str) -> list[Recorded]:
    """The events of an execution and of all below it, each execution's after its parent's."""
    found = await h.records(execution_id)
    for record in list(found):
        child = getattr(record.event, "child_id", None)
        if child is not None:
            found += await tree(h, child)
    return found


def kinds(events: Sequence[AnyEvent]) -> list[str]:
    """Their kinds."""
    return [kind_of(event) for event in events]
