"""Record the scenarios of this release: `python -m tests.replay.record VERSION`.

Writes a file for each scenario that has none in VERSION's folder. Nothing is written over: a recorded journal
stands for executions that exist out there, and a release that cannot read it must be changed, not the record.
"""

import sys

from tests.replay.journals import FOLDER, write_new
from tests.unit.core.scenarios import SCENARIOS


def main(version: str) -> int:
    """Record what is missing; the number of new files."""
    written = 0
    for name, made in SCENARIOS.items():
        try:
            path = write_new(FOLDER / version, name, made())
        except FileExistsError:
            print(f"kept      {version}/{name}.jsonl")
        else:
            written += 1
            print(f"recorded  {version}/{path.name}")
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.replay.record VERSION")
    main(sys.argv[1])
