"""What a parallel team does when one of its agents fails: `fail` ends it at once, `skip` goes on without that one, `wait` lets
the others finish and fails then. The result says which.

Prints:
    fail: failed
    skip: completed, [steady]: Here I am.
    wait: failed
"""

import os
import tempfile

from perdure import Agent, AgentRuntime
from perdure.testing import MockModel, text

REAL = os.environ.get("PERDURE_MODEL")
BROKEN = MockModel([text("", fail={"code": "E0204", "times": 99})])  # a model that refuses the key

steady = Agent("steady", REAL or MockModel([text("Here I am.")]), "Say that you are here.")
broken = Agent("broken", BROKEN, "Never gets to say anything.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        teams = [
            Agent("team_fail", agents=[steady, broken], strategy="parallel", on_child_failure="fail"),
            Agent("team_skip", agents=[steady, broken], strategy="parallel", on_child_failure="skip"),
            Agent("team_wait", agents=[steady, broken], strategy="parallel", on_child_failure="wait"),
        ]
        for team in teams:
            result = runtime.run(team, "Are you there?")
            said = f", {result.output}" if result.is_success else ""
            print(f"{team.on_child_failure}: {result.status}{said}")
