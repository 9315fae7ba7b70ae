"""Arguments that a model writes for an operation of a plan: asked, read, asked again with what is wrong, given up.

The question is a model step of its own, and its answer is no part of the conversation. What fits becomes the arguments
of the call, which is then accepted as any other.
"""

from perdure.core import events as ev
from perdure.core import inputs as inp
from perdure.core.arguments import read_arguments
from perdure.core.effects import CallModel
from perdure.core.errors import ToolError
from perdure.core.machines import operations, tool_calls
from perdure.core.machines.draft import Draft
from perdure.core.plan_run import Place, place_of
from perdure.core.plan_steps import Generate

MOST_TRIES = 4  # it is asked again three times


def begin(draft: Draft, place: Place, tool: str, generate: Generate) -> None:
    """Ask the team's model for the arguments of an operation."""
    try:
        context = operations.run_of(draft).resolved(generate.context)
    except ToolError as error:
        operations.refuse_with(draft, place, error)
        return
    _ask(
        draft,
        ev.ArgumentsRequested(
            place.writing(1),
            tool,
            generate.instructions,
            context,
            generate.output_schema,
            generate.max_tokens,
        ),
    )


def _ask(draft: Draft, asked: ev.ArgumentsRequested) -> None:
    call = (CallModel(asked.step, 1),) if draft.state.phase == "active" else ()
    draft.record(asked, *call)


def written(draft: Draft, item: inp.ModelSucceeded) -> None:
    """The model has answered: the call is made, or the model is asked again."""
    asked, place = draft.scope.transcript.writing.get(item.step), place_of(item.step)
    if asked is None or place is None:
        return  # another model's beside the conversation
    text = item.reply.message.text
    schema = draft.scope.plan.tools[asked.tool].spec.input_schema
    _, errors = read_arguments(text, schema, asked.shape)
    if not errors:
        tool_calls.accept(draft, place.call, operations.call_of(draft, place))
    elif asked.tries < MOST_TRIES:
        tries = asked.tries + 1
        _ask(
            draft,
            ev.ArgumentsRequested(
                place.writing(tries),
                asked.tool,
                asked.instructions,
                asked.context,
                asked.shape,
                asked.max_tokens,
                tries=tries,
                answer=text,
                errors=errors,
            ),
        )
    else:
        error = ev.ErrorInfo(
            "E0305",
            f"The arguments that the model wrote do not fit the tool after {MOST_TRIES} tries",
            where=f"tool {asked.tool}",
            why="; ".join(errors),
            fix="Say more in the instructions of `generate`, or use a stronger model.",
        )
        operations.refuse(draft, place, error)


def is_writing(step: str) -> bool:
    """Whether a model step is one in which arguments are written."""
    place = place_of(step)
    return place is not None and step.startswith(place.writing(1))


def failed(draft: Draft, step: str, error: ev.ErrorInfo) -> None:
    """The model could not be asked at all: the operation fails."""
    place = place_of(step)
    if place is not None:
        operations.refuse(draft, place, error)
