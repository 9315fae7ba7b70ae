"""How the agents of a team work together."""

import enum


class Strategy(enum.StrEnum):
    """How an agent and its sub-agents share the work. A member is its own text: `"parallel"` does as well.

    * `HANDOFF`: the agent's model decides who goes on, and may do so again after each answer.
    * `SEQUENTIAL`: one after the other; each is given what the one before made.
    * `PARALLEL`: all at once, with the same input.
    * `ROUTER`: `router=` picks who goes on: an agent, or a function.
    * `ROUND_ROBIN`: in turn, the first one first.
    * `RANDOM`: a seeded choice, which is recorded.
    * `SWARM`: whoever speaks hands over, by itself or by `handoffs=`.
    * `MANUAL`: a person picks.
    * `PLAN_EXECUTE`: a planner writes a plan of tool calls, which is then carried out.
    """

    HANDOFF = "handoff"
    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"
    ROUTER = "router"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"
    SWARM = "swarm"
    MANUAL = "manual"
    PLAN_EXECUTE = "plan_execute"


# Those in which somebody speaks after somebody else, so that it can be said who may.
TAKES_TURNS = (
    Strategy.HANDOFF,
    Strategy.ROUTER,
    Strategy.ROUND_ROBIN,
    Strategy.RANDOM,
    Strategy.SWARM,
    Strategy.MANUAL,
)
DONE = "DONE"  # what a router answers when nobody goes on; no member of a team may have this name
