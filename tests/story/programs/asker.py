"""Process A of an approval: starts executions that will need a person, says which, and lives until it is killed."""

import json
import sys
import time

from perdure import AgentRuntime
from tests.story.programs.cast import cashier

if __name__ == "__main__":
    runtime = AgentRuntime()
    for number in range(int(sys.argv[1])):
        handle = runtime.start(cashier, f"Refund {number}")
        print(json.dumps(handle.execution_id), flush=True)
    time.sleep(600)
