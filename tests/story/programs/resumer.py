"""Takes up an execution by its id and prints its result; with `join`, only waits for it, without the tools."""

import json
import sys

from perdure import AgentHandle, resume
from tests.story.programs.cast import AGENTS


def main(verb: str, execution_id: str) -> None:
    """Wait for the end."""
    handle = resume(execution_id, AGENTS["carrier"]) if verb == "resume" else AgentHandle(execution_id)
    result = handle.join()
    print(json.dumps({"status": result.status, "output": result.output}))


if __name__ == "__main__":
    main(*sys.argv[1:])
