"""Starts a team, says its id, and serves its tools until it is killed."""

import json
import time

from perdure import AgentRuntime
from tests.story.programs.cast import bureau

if __name__ == "__main__":
    runtime = AgentRuntime()
    print(json.dumps(runtime.start(bureau, "Report, then refund").execution_id), flush=True)
    time.sleep(600)
