"""What `run` gives back: the answer, how it ended, the tool calls with their results, and the tokens that were used.

A failure is not an exception: `status`, `finish_reason` and `error` say what happened.

Prints:
    output: add: 2
    success: True, stop
    calls: [{'name': 'add', 'args': {'a': 1, 'b': 1}, 'result': 2}]
    roles: ['user', 'assistant', 'tool', 'assistant']
    tokens were counted: True
"""

import os
import tempfile

from perdure import Agent, AgentResult, AgentRuntime, TokenUsage, tool

MODEL = os.environ.get("PERDURE_MODEL", "mock/tools")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


clerk = Agent("clerk", MODEL, "You do sums with your tool.", [add])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        result: AgentResult = runtime.run(clerk, "What is 1 and 1?")
        print(f"output: {result.output}")
        print(f"success: {result.is_success}, {result.finish_reason}")
        print(f"calls: {[{k: call[k] for k in ('name', 'args', 'result')} for call in result.tool_calls]}")
        print(f"roles: {[message['role'] for message in result.messages]}")
        usage: TokenUsage = result.usage
        print(f"tokens were counted: {usage.total_tokens > 0}")
