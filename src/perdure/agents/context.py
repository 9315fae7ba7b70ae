"""The tool's view of the call that it serves."""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any


@dataclass
class ToolContext:
    """What a tool may know about its call; given to a parameter annotated `ToolContext`, or named `context`.

    Attributes:
        execution_id: the execution that asked for the call.
        session_id: the conversation that the execution belongs to, if any.
        agent_name: the agent that asked.
        tool_name: the tool's own name.
        call_id: the model's id of the call.
        step: the call's place in the execution.
        attempt: 1 for the first try, 2 after a failure or the loss of a worker, and so on.
        idempotency_key: the same over retries, crashes and resumes of this call, different for every other
            call. Hand it to whatever the tool changes, so that it changes it once.
        state: shared by all tools of the execution, and durable: keys that were changed or added are recorded
            with the result. Values must be JSON.
        deadline_ms: wall time in milliseconds since the epoch at which the attempt runs out; None: no limit.
        metadata: the agent's metadata.
        dependencies: objects of this process that the worker was given: connections, clients, settings.
        logger: writes with the ids of the call.
        cancelled: set when the result is no longer wanted; a thread may wait on it.
    """

    execution_id: str = ""
    session_id: str | None = None
    agent_name: str = ""
    tool_name: str = ""
    call_id: str = ""
    step: str = ""
    attempt: int = 1
    idempotency_key: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    deadline_ms: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    dependencies: dict[str, Any] = field(default_factory=dict)
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("perdure.tool"), repr=False
    )
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    @property
    def is_cancelled(self) -> bool:
        """Whether the result is no longer wanted: the execution was cancelled, or another attempt took over.

        A long tool looks at this now and then, and returns early.
        """
        return self.cancelled.is_set()
