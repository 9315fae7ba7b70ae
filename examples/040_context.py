"""`context=` are facts for one execution beside the prompt: who is asking, which order is meant. The agent is shown them with
what it is asked, and the prompt stays what the user wrote.

Prints:
    the model was shown the order: True
    completed
"""

import os
import tempfile

from perdure import Agent, AgentRuntime

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
support = Agent("support", MODEL, "Help the customer.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        facts = {"customer": "Ada", "order": {"id": "A-1001", "amount": 79.9}}
        result = runtime.run(support, "Where is my order?", context=facts)
        print(f"the model was shown the order: {'A-1001' in str(result.messages)}")
        print(result.status)
