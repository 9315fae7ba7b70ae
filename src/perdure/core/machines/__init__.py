"""The machines, one file each. `turn` drives one agent's loop; strategies add theirs beside it."""
