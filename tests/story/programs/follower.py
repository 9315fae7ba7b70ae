"""Follows an execution and all below it by its id; prints every event as a line of JSON, the result last."""

import json
import sys

from perdure import AgentHandle


def main(execution_id: str) -> None:
    """Stream it to its end."""
    stream = AgentHandle(execution_id).stream()
    for event in stream:
        line = {
            "type": event.type,
            "agent": event.agent,
            "execution": event.execution_id,
            "seq": event.seq,
            "attempt": event.attempt,
            "content": event.content,
            "kind": event.kind,
        }
        print(json.dumps(line), flush=True)
    result = stream.result
    print(
        json.dumps({"type": "result", "output": result.output, "sub_results": result.sub_results}), flush=True
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
