"""A process is killed in the middle of a tool, with no chance to clean up. A second one, on the same directory, takes the
execution up: the first tool is not run again, the second one is, with the same idempotency key.

Prints:
    killed while baking
    done: weigh, bake, bake
    with 1 key: True
    The bread is done.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("weigh"), call("bake"), text("The bread is done.")]
)
FOLDER = Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp())


def note(what: str, context: ToolContext) -> None:
    """Write down what is done, outside of the journal."""
    with (FOLDER / "notes.txt").open("a", encoding="utf-8") as file:
        file.write(f"{what} {context.idempotency_key} {context.execution_id}\n")


def notes() -> list[list[str]]:
    """What was done so far, with its key and its execution."""
    file = FOLDER / "notes.txt"
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


@tool
def weigh(context: ToolContext) -> str:
    """Weigh the flour."""
    note("weigh", context)
    return "500 g"


@tool
def bake(context: ToolContext) -> str:
    """Bake the bread."""
    note("bake", context)
    if context.attempt == 1:
        time.sleep(60)  # killed here
    return "brown"


baker = Agent("baker", MODEL, "Weigh the flour, then bake.", [weigh, bake])

if __name__ == "__main__":
    if sys.argv[1:]:  # the process that is killed
        with AgentRuntime(embedded=True, data_dir=FOLDER / "journal") as runtime:
            runtime.run(baker, "A loaf of bread")
    child = subprocess.Popen([sys.executable, __file__, str(FOLDER)])
    while len(notes()) < 2:
        time.sleep(0.02)
    child.kill()
    child.wait()
    print("killed while baking")
    with AgentRuntime(embedded=True, data_dir=FOLDER / "journal") as runtime:
        result = runtime.resume(notes()[0][2], baker).join()
    print(f"done: {', '.join(what for what, *_ in notes())}")
    print(f"with 1 key: {len({key for what, key, _ in notes() if what == 'bake'}) == 1}")
    print(result.output)
    shutil.rmtree(FOLDER)
