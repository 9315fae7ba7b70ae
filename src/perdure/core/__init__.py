"""The pure core: ids, errors, messages, events, effects, plans and machines.

Architecture invariant: nothing in this package awaits, reads a clock, draws a random number, touches a
file or imports another package of ours. Time, ids and random numbers are arguments. `tests/tidy` holds it.
"""
