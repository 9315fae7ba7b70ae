"""A client that streams the teller's story and prints every event as a line of JSON, the result last."""

import json

from perdure import AgentRuntime
from tests.story.programs.cast import teller


def main() -> None:
    """Stream it to its end."""
    with AgentRuntime() as runtime:
        stream = runtime.stream(teller, "Tell me a story")
        for event in stream:
            line = {
                "type": event.type,
                "seq": event.seq,
                "attempt": event.attempt,
                "content": event.content,
                "execution": event.execution_id,
                "kind": event.kind,
            }
            print(json.dumps(line), flush=True)
        print(json.dumps({"type": "result", "output": stream.result.output}), flush=True)


if __name__ == "__main__":
    main()
