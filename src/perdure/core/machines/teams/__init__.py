"""The team machines: one for each strategy that drives child executions.

Each strategy has a file that decides (`advance`) and a table in `tables` that says which events its phases take. A
machine is asked when nothing of its execution is open any more, and answers by recording what comes next: whose turn it
is, a child execution, the team's own model (synthesis), or the end.
"""
