"""A worker without our SDK: takes one task of `carrier.carry` over HTTP, works for a second and hands the result in.

It sends no heartbeats. Prints the task that it took, then the server's receipt for the result.
"""

import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

from perdure import ToolContext
from tests.story.programs.cast import took_effect

NAME = "plain-worker"


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST a JSON body; give the JSON answer."""
    key = (Path(os.environ["PERDURE_HOME"]) / "api_key").read_text(encoding="utf-8").strip()
    request = urllib.request.Request(
        os.environ["PERDURE_SERVER_URL"] + path,
        json.dumps({"worker": NAME, "tools": ["carrier.carry"]} | body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def main() -> None:
    """Work once."""
    (task,) = post("/api/v1/worker/poll", {"want": 1, "wait_ms": 30_000})["tasks"]
    took_effect(
        ToolContext(
            execution_id=task["execution_id"],
            tool_name=task["tool"],
            step=task["step"],
            attempt=task["epoch"],
            idempotency_key=task["idempotency_key"],
        )
    )
    print(json.dumps(task), flush=True)
    time.sleep(1)
    names = ("execution_id", "step", "epoch", "token")
    result = {name: task[name] for name in names} | {"result": "carried by a zombie"}
    answer = post("/api/v1/worker/poll", {"want": 0, "results": [result]})
    print(json.dumps(answer["receipts"]), flush=True)


if __name__ == "__main__":
    main()
