"""Where memories are kept: one adapter each, all held by the contract suite in `tests/contract/memory`.

| store | for |
|---|---|
| `in_process` | tests, notebooks: gone with the process |
| `sqlite_vec` | one machine: a file, durable, exact |
| `pgvector` | several machines with Postgres: durable, exact, or an HNSW index |
| `qdrant` | large memories on a Qdrant server; its local mode for one process |
| `chroma` | where Chroma is in use already: one process, approximate |
"""
