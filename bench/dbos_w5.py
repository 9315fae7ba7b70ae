"""W5 on DBOS: what it costs to import it and to come to a first result, and what it holds when idle."""

from pathlib import Path
from typing import Any

from bench import start

FIRST_RESULT = """
from dbos import DBOS

@DBOS.step()
def step(text):
    return text.upper()

@DBOS.workflow()
def hello(text):
    return step(text)

DBOS(config={{"name": "bench", "system_database_url": "sqlite:///{folder}/dbos.sqlite", "log_level": "ERROR"}})
DBOS.launch()
assert hello("hello") == "HELLO"
{report}
DBOS.destroy()
"""


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Measure W5; see bench/README.md for the parameters and the answer."""
    folder = Path(params["data_dir"])
    return start.measure_start("from dbos import DBOS", FIRST_RESULT, folder, params["repeat"])
