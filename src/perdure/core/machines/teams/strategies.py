"""The strategies that have a machine of their own, by name: what is asked when, and by whom.

`advance` is called when no step of the team is open; `function_ended` with the result of a function that the machine
asked for; `child_failed` at once when a child has failed, whatever else is open.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.core import events as ev
from perdure.core.machines.draft import Draft
from perdure.core.machines.teams import (
    manual,
    parallel,
    plan_execute,
    random,
    round_robin,
    router,
    sequential,
    swarm,
    talk,
)


def _no_function(draft: Draft, function: str, _result: Any) -> None:
    raise ValueError(f"{draft.state.team.strategy} asks for no function, and {function} has ended")


def _no_answer(draft: Draft, decided: ev.ApprovalDecided) -> None:
    raise ValueError(f"{draft.state.team.strategy} asks nobody, and {decided.approval_id} is decided")


class Machine(msgspec.Struct, frozen=True):
    """One strategy; `beside_steps`: it is asked although steps are open, because it may begin others beside them."""

    advance: Callable[[Draft], None]
    function_ended: Callable[[Draft, str, Any], None] = _no_function
    child_failed: Callable[[Draft, ev.ChildFailed], None] = talk.fail_with_child
    answered: Callable[[Draft, ev.ApprovalDecided], None] = _no_answer
    beside_steps: bool = False


MACHINES: dict[str, Machine] = {
    "sequential": Machine(sequential.advance, sequential.function_ended),
    "parallel": Machine(parallel.advance, child_failed=parallel.child_failed),
    "round_robin": Machine(round_robin.advance, round_robin.function_ended),
    "random": Machine(random.advance, random.function_ended),
    "manual": Machine(manual.advance, manual.function_ended, answered=manual.answered),
    "swarm": Machine(swarm.advance, swarm.function_ended),
    "router": Machine(router.advance, router.function_ended),
    "plan_execute": Machine(plan_execute.advance, child_failed=plan_execute.child_failed, beside_steps=True),
}
