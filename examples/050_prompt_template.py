"""A template fills values into instructions, and is checked when it is made: a name without a value, or a value without a
name, is an error at once and not a strange answer later.

Prints:
    You serve the customers of Roast & Co in French.
    forgot one: E0101
"""

import os
import tempfile

from perdure import Agent, AgentRuntime, DefinitionError, PromptTemplate

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
TEXT = "You serve the customers of {{shop}} in {{language}}."

template = PromptTemplate(TEXT, {"shop": "Roast & Co", "language": "French"})
clerk = Agent("clerk", MODEL, template)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.plan(clerk)["plan"]["instructions"])
    try:
        PromptTemplate(TEXT, {"shop": "Roast & Co"})
    except DefinitionError as error:
        print(f"forgot one: {error.code}")
