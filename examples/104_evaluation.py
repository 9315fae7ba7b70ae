"""An evaluation: cases with what their run must be like, put to the agent and summed up. In process each case may have a script;
`CorrectnessEval(runtime)` puts the same cases to the real model.

Prints:
    passed: 2 of 3
    failed: sum
"""

import os

from perdure import Agent
from perdure.testing import CorrectnessEval, EvalCase, EvalSuiteResult

MODEL = os.environ.get("PERDURE_MODEL", "mock/echo")
parrot = Agent("parrot", MODEL, "Repeat what the user says, and nothing else.")
CASES = [
    EvalCase("hello", parrot, "Hello", expect_output_contains="Hello"),
    EvalCase("silent", parrot, "Use no tools", expect_tools_not_used=["search"]),
    EvalCase("sum", parrot, "What is 1 and 2?", expect_output_matches=r"\b3\b"),
]

if __name__ == "__main__":
    results: EvalSuiteResult = CorrectnessEval().run(CASES)
    print(f"passed: {results.pass_count} of {results.total}")
    print(f"failed: {', '.join(case.name for case in results.failed_cases())}")
