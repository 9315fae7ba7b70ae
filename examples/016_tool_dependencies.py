"""`dependencies` are objects of this process: connections, clients, settings. Tools find them in `context.dependencies`;
they never leave the process, and are no part of what the server keeps.

Prints: Ada has 3 books
"""

import os
import sqlite3
import tempfile

from perdure import Agent, AgentRuntime, ToolContext, tool
from perdure.testing import MockModel, call, text

MODEL = os.environ.get("PERDURE_MODEL") or MockModel(
    [call("count_books", reader="Ada"), text("{result:count_books}")]
)


@tool
def count_books(reader: str, context: ToolContext) -> str:
    """Count the books that a reader has at home."""
    found = context.dependencies["db"].execute("SELECT count(*) FROM loans WHERE reader = ?", (reader,))
    return f"{reader} has {found.fetchone()[0]} books"


if __name__ == "__main__":
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute("CREATE TABLE loans (reader TEXT)")
    db.executemany("INSERT INTO loans VALUES (?)", [("Ada",), ("Ada",), ("Ada",), ("Bo",)])
    librarian = Agent("librarian", MODEL, "Count with your tool.", [count_books], dependencies={"db": db})
    with tempfile.TemporaryDirectory() as folder, AgentRuntime(embedded=True, data_dir=folder) as runtime:
        print(runtime.run(librarian, "How many books does Ada have?").output)
    db.close()
