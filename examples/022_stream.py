"""A stream gives events as they happen: pieces of text (`token`), tool calls and their results, and the end. After the last
one `stream.result` is what `run` would have given.

Prints:
    call weather {'city': 'Oslo'}
    result rain
    It rains |in Oslo.
    completed
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, AgentStream, EventType, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("weather", city="Oslo"), text("It rains in Oslo.", chunks=2, delay_ms=200)]
)


@tool
def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return "rain" if city == "Oslo" else "sun"


guide = Agent("guide", MODEL, "Help travellers. Look up the weather before you answer.", [weather])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        events: AgentStream = runtime.stream(guide, "The weather in Oslo?")
        pieces = []
        for event in events:
            if event.type == EventType.TOKEN:
                pieces.append(event.content)
            elif event.type == EventType.TOOL_CALL:
                print("call", event.tool_name, event.args)
            elif event.type == EventType.TOOL_RESULT:
                print("result", event.result)
        print("|".join(pieces))
        print(events.result.status)
