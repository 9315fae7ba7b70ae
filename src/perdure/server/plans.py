"""From a definition, or a deployed name, to a plan that can be started.

Compiling is pure, so the plan of a definition is kept by the definition's bytes: starting the same agent a
thousand times compiles it once and stores it once.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec

from perdure.clock import Clock
from perdure.core.definition import AgentDefinition
from perdure.core.errors import ExecutionError, ModelError
from perdure.core.plan import Bundle, Plan
from perdure.engine.ports import Catalog, DeployedAgent, Models, task_queue_name

_KEEP = 256
_ENCODER = msgspec.json.Encoder()

K = TypeVar("K")


class Compile(Protocol):
    """The one compiler, as the server sees it."""

    def __call__(self, definition: AgentDefinition) -> Bundle:
        """Resolve and validate.

        Raises:
            DefinitionError: E0101 to E0107.
        """
        ...


class Compiled(msgspec.Struct, frozen=True):
    """A plan and its hash, with the plans of all agents below it."""

    plan: Plan
    plan_hash: str
    members: dict[str, Plan] = {}

    @property
    def worker_tools(self) -> list[str]:
        """The queue names that a worker must serve."""
        plans = (self.plan, *self.members.values())
        return list(dict.fromkeys(task_queue_name(*f) for plan in plans for f in plan.functions))


class Plans:
    """Compiles, stores and finds plans."""

    def __init__(
        self,
        catalog: Catalog,
        models: Models,
        decode: Callable[[Any], AgentDefinition],
        compile_: Compile,
        plan_hash: Callable[[Plan], str],
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._models = models
        self._decode = decode
        self._compile = compile_
        self._plan_hash = plan_hash
        self._clock = clock
        self._compiled: OrderedDict[bytes, Compiled] = OrderedDict()
        self._by_hash: OrderedDict[str, Compiled] = OrderedDict()

    def compile(self, definition: AgentDefinition) -> Compiled:
        """The plan of *definition*; nothing is stored.

        Raises:
            DefinitionError: E0101 to E0107.
        """
        key = _ENCODER.encode(definition)
        found = self._compiled.get(key)
        if found is None:
            # Read again by the compiler's own reader, which refuses what a newer version wrote (E0102).
            bundle = self._compile(self._decode(key))
            found = Compiled(bundle.plan, self._plan_hash(bundle.plan), bundle.members)
            _keep(self._compiled, key, found)
        return found

    def problem(self, compiled: Compiled) -> ModelError | None:
        """What stands in the way of calling the models of the plan and of all below it."""
        try:
            self._check_models(compiled)
        except ModelError as error:
            return error
        return None

    def _check_models(self, compiled: Compiled) -> None:
        for plan in (compiled.plan, *compiled.members.values()):
            for model in plan.models:
                self._models.check(model)

    async def _put(self, compiled: Compiled) -> None:
        """Store the plans, those below first: a stored plan never names one that is not there."""
        now_ms = self._clock.now_ms()
        for member_hash, member in compiled.members.items():
            await self._catalog.put_plan(member_hash, member, now_ms)
        await self._catalog.put_plan(compiled.plan_hash, compiled.plan, now_ms)

    async def store(self, definition: AgentDefinition) -> Compiled:
        """Compile and store; ready to be started.

        Raises:
            DefinitionError: E0101 to E0107.
            ModelError: E0201 to E0203, before anything is stored.
        """
        compiled = self.compile(definition)
        self._check_models(compiled)
        if compiled.plan_hash not in self._by_hash:
            await self._put(compiled)
            _keep(self._by_hash, compiled.plan_hash, compiled)
        return compiled

    def hash_of(self, plan: Plan) -> str:
        """The hash under which a plan is stored."""
        return self._plan_hash(plan)

    def ready(self, plan: Plan, members: dict[str, Plan]) -> Compiled:
        """A plan that was made out of another one; whoever starts it stores it.

        Raises:
            ModelError: E0201 to E0203.
        """
        compiled = Compiled(plan, self._plan_hash(plan), members)
        self._check_models(compiled)
        return compiled

    async def pinned(self, agent: str, plan_hash: str) -> Compiled:
        """The stored plan of an execution, with those of all agents below it.

        Raises:
            ExecutionError: E0412 it is not stored.
        """
        compiled = self._by_hash.get(plan_hash)
        if compiled is None:
            plan = await self._stored(agent, plan_hash)
            compiled = Compiled(plan, plan_hash, await self._below(agent, plan))
            _keep(self._by_hash, plan_hash, compiled)
        return compiled

    async def deploy(self, definition: AgentDefinition) -> DeployedAgent:
        """Store and make current under the agent's name. The model's key may be missing still.

        Raises:
            DefinitionError: E0101 to E0107.
        """
        compiled = self.compile(definition)
        await self._put(compiled)
        await self._catalog.deploy(compiled.plan.agent, compiled.plan_hash, self._clock.now_ms())
        return await self.current(compiled.plan.agent)

    async def current(self, agent: str) -> DeployedAgent:
        """What *agent* means now.

        Raises:
            ExecutionError: E0412 no agent of this name is deployed.
        """
        found = await self._catalog.deployed(agent)
        if not found:
            raise ExecutionError(
                "E0412",
                f"No deployed agent has the name {agent!r}",
                fix="Deploy it first (`perdure.deploy(agent)`), or start it by its definition.",
            )
        return found[0]

    async def deployed(self, agent: str) -> Compiled:
        """The plan that *agent* means now, ready to be started.

        Raises:
            ExecutionError: E0412 no agent of this name is deployed.
            ModelError: E0201 to E0203.
        """
        row = await self.current(agent)
        compiled = await self.pinned(agent, row.plan_hash)
        self._check_models(compiled)
        return compiled

    async def _stored(self, agent: str, plan_hash: str) -> Plan:
        plan = await self._catalog.get_plan(plan_hash)
        if plan is None:
            raise ExecutionError("E0412", f"The plan of the deployed agent {agent!r} is not stored")
        return plan

    async def _below(self, agent: str, plan: Plan) -> dict[str, Plan]:
        """The plans of all agents below a stored one."""
        found: dict[str, Plan] = {}
        open_ = [plan]
        while open_:
            for member in open_.pop().members:
                if member.plan_hash is not None and member.plan_hash not in found:
                    found[member.plan_hash] = await self._stored(agent, member.plan_hash)
                    open_.append(found[member.plan_hash])
        return found


def _keep(cache: OrderedDict[K, Compiled], key: K, value: Compiled) -> None:
    """Put into a cache of the last `_KEEP` entries."""
    cache[key] = value
    if len(cache) > _KEEP:
        cache.popitem(last=False)
