"""Events of what is said to an execution while it runs: messages, the wish that it stops, the session it waits for.

They are part of `core.events`, which says what holds for all of them.
"""

from typing import ClassVar, Literal

from perdure.core.event_base import Event
from perdure.core.messages import Message
from perdure.core.model import Usage

MessageMode = Literal["enqueue", "interrupt"]


class MessageReceived(Event, frozen=True, omit_defaults=True, tag="message_received"):
    """Somebody said something to the running execution; `id` tells it from its repetition.

    The model sees it in the next turn. `interrupt`: the turn's model call is given up, so that this is at once.
    """

    BODY: ClassVar[str | None] = "message"
    id: str
    message: Message
    by: str
    mode: MessageMode = "enqueue"


class ModelInterrupted(Event, frozen=True, omit_defaults=True, tag="model_interrupted"):
    """A model call was given up: for a message, so that the next turn begins, or because the execution ends.

    What it streamed is void. `used` is the most that the attempt can have used, where a budget counts it; at the end of
    an execution it is recorded for that alone.
    """

    step: str
    attempt: int
    used: Usage = Usage()


class MessageAwaited(Event, frozen=True, omit_defaults=True, tag="message_awaited"):
    """A tool call waits for the next messages, at most `batch_size` of them."""

    step: str
    call_id: str
    tool: str
    batch_size: int = 1


class MessagesTaken(Event, frozen=True, omit_defaults=True, tag="messages_taken"):
    """The call has its messages: the first `count` of those that nobody has seen."""

    step: str
    call_id: str
    tool: str
    count: int


class StopRequested(Event, frozen=True, omit_defaults=True, tag="stop_requested"):
    """Somebody asked that the execution ends after the turn that it is in, with what there is."""

    by: str
    reason: str = ""


class SessionAwaited(Event, frozen=True, omit_defaults=True, tag="session_awaited"):
    """The execution before this one in its session has not ended: this one begins after it."""

    step: str
    execution_id: str


class SessionJoined(Event, frozen=True, omit_defaults=True, tag="session_joined"):
    """The execution before has ended; the conversation goes on from it."""

    step: str


class CallsPrefilled(Event, frozen=True, omit_defaults=True, tag="calls_prefilled"):
    """The calls of the definition are made before the model is first asked: `message` has them, as if it had asked."""

    BODY: ClassVar[str | None] = "message"
    message: Message


class CondenseRequested(Event, frozen=True, omit_defaults=True, tag="condense_requested"):
    """The conversation fills the context window: a model is asked to sum up the messages from `first` up to `last`.

    The answer of that step takes their place; `asked` is the index of a message among them that stays word for word.
    `tokens` is how large the conversation was.
    """

    step: str
    turn: int
    first: int
    last: int
    tokens: int
    asked: int | None = None
    attempt: int = 1
