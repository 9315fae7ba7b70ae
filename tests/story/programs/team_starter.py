"""Deploys a team and starts it by its name, says its id, and ends: its tools are served by others."""

import json

from perdure import AgentRuntime
from tests.story.programs.cast import bureau

if __name__ == "__main__":
    with AgentRuntime() as runtime:
        runtime.deploy(bureau)
        print(json.dumps(runtime.start("bureau", "Report, then refund").execution_id), flush=True)
