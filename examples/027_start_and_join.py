"""`start` returns at once with a handle; the execution goes on in the server. The handle says what it is doing, and `join`
waits for the end. A `join` that is given too little time says so with E0705 and leaves the execution alone.

Prints:
    status: running
    join: E0705
    output: Ready.
    status: completed
"""

import os
import tempfile

from perdure import Agent, AgentHandle, AgentRuntime, AgentStatus, ClientError
from perdure.testing import MockModel, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel([text("Ready.", delay_ms=500)])
cook = Agent("cook", MODEL, "Say Ready when you are.")

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        handle: AgentHandle = runtime.start(cook, "Cook an egg")
        status: AgentStatus = handle.get_status()
        print(f"status: {status.status}")
        try:
            handle.join(timeout=0.05)
        except ClientError as error:
            print(f"join: {error.code}")
        print(f"output: {handle.join().output}")
        print(f"status: {handle.get_status().status}")
