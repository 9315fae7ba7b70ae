"""The engine: the only place where order and durability are decided. Commit, then act."""
