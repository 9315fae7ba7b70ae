"""Mistakes are found early, and each has a code, says where it is, why, and what to do. All are a `PerdureError`: a wrong
definition is a `DefinitionError`, a model that cannot be called a `ModelError`, and so on. docs/errors.md lists them.

Prints:
    Agent("my agent"): E0104 DefinitionError
    model "gpt-5": E0107 DefinitionError
    model "mock/nobody": E0211 ModelError
    empty prompt: E0704 ClientError
    unknown agent: E0412 ExecutionError
    it says what to do: True
"""

import tempfile
from collections.abc import Callable
from typing import Any

from perdure import (
    Agent,
    AgentRuntime,
    ClientError,
    DefinitionError,
    ExecutionError,
    ModelError,
    PerdureError,
)

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        mistakes: dict[str, tuple[type[PerdureError], Callable[[], Any]]] = {
            'Agent("my agent")': (DefinitionError, lambda: Agent("my agent")),
            'model "gpt-5"': (DefinitionError, lambda: Agent("a", "gpt-5")),
            'model "mock/nobody"': (ModelError, lambda: runtime.run(Agent("a", "mock/nobody"), "Hello")),
            "empty prompt": (ClientError, lambda: runtime.run(Agent("a", "mock/echo"), "")),
            "unknown agent": (ExecutionError, lambda: runtime.run("nobody", "Hello")),
        }
        fixes = []
        for what, (kind, mistake) in mistakes.items():
            try:
                mistake()
            except kind as error:
                print(f"{what}: {error.code} {type(error).__name__}")
                fixes.append(error.fix)
        print(f"it says what to do: {all(fixes)}")
