"""A memory by itself: many entries at once, metadata, filters, and whose it is. What one user's memory holds, another one's
does not find.

Prints:
    hot: ['Likes green tea.']
    not hot: ['Likes lemonade.']
    entries: 2, first topic: drink
    bo finds: []
"""

from perdure import InProcessStore, MemoryEntry, MemoryFilter, NewMemory, SemanticMemory

if __name__ == "__main__":
    shared = SemanticMemory(InProcessStore(), agent="support")
    ana, bo = shared.scoped(user="ana"), shared.scoped(user="bo")
    ana.add_many(
        [
            NewMemory("Likes green tea.", {"topic": "drink", "tags": ["tea", "hot"]}),
            NewMemory("Likes lemonade.", {"topic": "drink", "tags": ["cold"]}),
        ]
    )
    print(f"hot: {ana.search('drinks', where={'tags': 'hot'})}")
    print(f"not hot: {ana.search('drinks', where=MemoryFilter(unless={'tags': 'hot'}))}")
    entries: list[MemoryEntry] = ana.list_all()
    print(f"entries: {len(entries)}, first topic: {entries[0].metadata['topic']}")
    print(f"bo finds: {bo.search('drinks')}")
    shared.close()
