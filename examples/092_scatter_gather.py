"""`scatter_gather` makes an agent that divides a problem, gives each part to an execution of the same worker, all at once, and
puts together what they find.

Prints: Three reviews: 2 good, 1 bad.
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, scatter_gather
from perdure.testing import MockModel, call, calls, text

REAL = os.environ.get("PERDURE_MODEL")
REVIEWS = ("Great sound.", "Broke at once.", "I love it.")
DIVIDE = [
    calls(*(call("judge", request=review) for review in REVIEWS)),
    text("Three reviews: 2 good, 1 bad."),
]

judge = Agent("judge", REAL or "mock/echo", "Say whether a review is good or bad.")
survey = scatter_gather(
    "survey", judge, model=REAL or MockModel(DIVIDE), instructions="Count good and bad ones."
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(survey, "\n".join(REVIEWS)).output)
