"""Following to the end, and what is said and returned then: the same for `run` and `watch`."""

from perdure.cli import exits, live, render
from perdure.cli.options import Invocation
from perdure.cli.screen import Format
from perdure.client.api import ApiClient


async def to_the_end(call: Invocation, api: ApiClient, execution_id: str, *, leaving: str = "") -> int:
    """Show the execution until it ends or the person leaves; return the exit code.

    *leaving* is what else a person should know who leaves before the end.
    """
    watched = live.Watch(call, api, execution_id)
    view = await watched.run()
    screen = call.screen
    if watched.detached:
        screen.note(f"Still running; watch it again with: perdure watch {execution_id}")
        if leaving:
            screen.note(leaving)
        return exits.INTERRUPTED
    if screen.format is Format.JSON:
        screen.data(await api.execution(execution_id))
    elif screen.for_people:
        if screen.terminal:
            screen.line()
            screen.lines(render.closing(view))
        else:
            for row in render.closing(view):
                screen.line(row.plain)
    return exits.OK if view.ending == "completed" else exits.FAILED
