"""/agents: compile a definition, deploy it, list what is deployed."""

from typing import Any

import msgspec

from perdure.server import views
from perdure.server.routing import Call, RouteSpec
from perdure.wire.types import AgentAnswer, AgentsAnswer, DeployBody, PlanAnswer, PlanBody

_DEFINITION_CODES = ("E0101", "E0102", "E0103", "E0104", "E0105", "E0106", "E0107")


async def plan(call: Call) -> PlanAnswer:
    """Compile; say what the plan needs. Nothing is stored."""
    body: PlanBody = call.body
    compiled = call.service.plans.compile(body.definition)
    problem = call.service.plans.problem(compiled)
    as_data: dict[str, Any] = msgspec.to_builtins(compiled.plan)
    return PlanAnswer(
        agent=compiled.plan.agent,
        plan_hash=compiled.plan_hash,
        plan=as_data,
        worker_tools=compiled.worker_tools,
        model_problem=None if problem is None else problem.to_wire(),
    )


async def deploy(call: Call) -> AgentAnswer:
    """Store a definition's plan and make it current under the agent's name."""
    body: DeployBody = call.body
    call.service.check_accepting()
    return views.agent(await call.service.plans.deploy(body.definition))


async def list_agents(call: Call) -> AgentsAnswer:
    """All deployed agents."""
    return AgentsAnswer([views.agent(row) for row in await call.service.deps.catalog.deployed()])


async def show(call: Call) -> AgentAnswer:
    """One deployed agent."""
    return views.agent(await call.service.plans.current(call.path["name"]))


ROUTES = (
    RouteSpec(
        method="POST",
        path="/api/v1/agents/plan",
        name="plan_agent",
        summary="Compile a definition without storing it",
        tag="agents",
        handler=plan,
        body=PlanBody,
        answer=PlanAnswer,
        codes=_DEFINITION_CODES,
    ),
    RouteSpec(
        method="POST",
        path="/api/v1/agents",
        name="deploy_agent",
        summary="Make a definition the current one of its agent's name",
        tag="agents",
        handler=deploy,
        body=DeployBody,
        answer=AgentAnswer,
        codes=(*_DEFINITION_CODES, "E0501", "E0506", "E0610"),
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/agents",
        name="list_agents",
        summary="The deployed agents, by name",
        tag="agents",
        handler=list_agents,
        answer=AgentsAnswer,
    ),
    RouteSpec(
        method="GET",
        path="/api/v1/agents/{name}",
        name="show_agent",
        summary="One deployed agent",
        tag="agents",
        handler=show,
        answer=AgentAnswer,
        codes=("E0412",),
    ),
)
