"""A process that adds entries to a file until it is killed; it prints the ids of each batch after `add` has answered.

Usage: python -m tests.contract.memory.adding_process FILE FIRST
"""

import asyncio
import itertools
import sys

from perdure.memory.stores.sqlite_vec import SqliteVecStore
from tests.contract.memory.samples import NOW_MS, SPACE, entry

BATCH = 5


async def main(path: str, first: int) -> None:
    """Add batch after batch."""
    store = SqliteVecStore(path)
    for number in itertools.count(first):
        entries = [entry(f"{number}-{n}", metadata={"batch": number}) for n in range(BATCH)]
        await store.add(SPACE, entries, NOW_MS)
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
