"""The worker: asks for tasks, runs the user's functions, keeps their leases, hands in the results."""
