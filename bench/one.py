"""One measurement in a process of its own: `python -m bench.one SIDE WORKLOAD PARAMS`.

A fresh process for each keeps one side's threads, caches and memory out of the other's figures. The last line
of standard output is the answer, one JSON object; what a library prints before it does no harm.
"""

import importlib
import json
import sys

from bench import machine


def main(side: str, workload: str, params: str) -> None:
    """Run the runner and print what it returns, with the load average around it."""
    before = machine.load()
    module = importlib.import_module(f"bench.{side}_{workload.lower()}")
    answer = module.run(json.loads(params))
    answer["load_before"] = before
    answer["load_after"] = machine.load()
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:4])
