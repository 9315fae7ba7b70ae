"""What a worker does for an agent with a semantic memory: `@recall` before the first turn, `@remember` at the end.

| function | is given | answers |
|---|---|---|
| `@recall` | `input` | `text`: what the memory has about it, for the instructions; empty for nothing |
| `@remember` | `input`, `output` | `ids`: of what was kept |

A memory is a help and no condition: when it fails, the execution goes on without it and the worker's log says so.
Only a memory that is `required` fails the execution.
"""

import logging
from typing import Any

from perdure.agents.calling import Call
from perdure.agents.context import ToolContext
from perdure.agents.functions import Steps, WorkerFunction
from perdure.core.errors import SemanticMemoryError
from perdure.core.history import text_of
from perdure.memory.agent import recall, remember
from perdure.memory.memory import SemanticMemory

_log = logging.getLogger("perdure.worker")


def memory_functions(memory: SemanticMemory, where: str) -> tuple[WorkerFunction, WorkerFunction]:
    """The two functions of an agent that has this memory."""
    where = f"{where}, semantic_memory"

    def recalls(arguments: dict[str, Any], context: ToolContext) -> Steps:
        asked = (memory, arguments["input"], context.session_id or "", context.execution_id)
        try:
            text = yield Call(recall, asked, {})
        except SemanticMemoryError as error:
            text = _without(memory, error, "")
        return {"text": text}

    def remembers(arguments: dict[str, Any], context: ToolContext) -> Steps:
        said = (arguments["input"], text_of(arguments["output"]))
        try:
            ids = yield Call(remember, (memory, *said, context.session_id or "", context.execution_id), {})
        except SemanticMemoryError as error:
            ids = _without(memory, error, [])
        return {"ids": ids}

    return WorkerFunction("@recall", where, recalls), WorkerFunction("@remember", where, remembers)


def _without(memory: SemanticMemory, error: SemanticMemoryError, instead: Any) -> Any:
    """Go on without the memory, unless it is required."""
    if memory.required:
        raise error
    _log.warning("memory_failed: %s: %s", error.code, error.what)
    return instead
