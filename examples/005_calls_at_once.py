"""Several calls in one turn run at the same time. Three lookups of 0.2 seconds take well under 0.6 seconds together,
and their results keep the order of the calls.

Prints:
    Rome 21, Oslo 9, Cairo 30
    at the same time: True
"""

import os
import tempfile
import time

from perdure import Agent, AgentRuntime, tool
from perdure.testing import MockModel, call, calls, text

CITIES = {"Rome": 21, "Oslo": 9, "Cairo": 30}
MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [calls(*(call("celsius", city=city) for city in CITIES)), text("All three are looked up.")]
)
spans: list[tuple[float, float]] = []


@tool
def celsius(city: str) -> int:
    """Say how warm it is in a city."""
    began = time.monotonic()
    time.sleep(0.2)
    spans.append((began, time.monotonic()))
    return CITIES[city]


reporter = Agent("reporter", MODEL, "Look up all cities at once.", [celsius])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result = runtime.run(reporter, f"How warm is it in {', '.join(CITIES)}?")
        print(", ".join(f"{c['args']['city']} {c['result']}" for c in result.tool_calls))
        print("at the same time:", max(began for began, _ in spans) < min(ended for _, ended in spans))
