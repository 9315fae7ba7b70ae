"""Semantic memory: texts that are kept over sessions and found again by their meaning.

From the bottom up: `ports` (what a store and an embedder promise, and the values that cross between them), `filters`
(which entries are meant), `entries` (what may be stored, and under which id), `embedders` and `stores/` (the
adapters, each imported when it is first used), `semantic` (the memory as async code sees it), `memory` (the same,
for plain code), `agent` (what an agent's execution does with it).

Nothing here needs a library that does not come with the package: numpy, an embedding model or a store's client is
imported by the adapter that needs it, with its first call, and its absence is E0801 with the command that installs it.
"""
