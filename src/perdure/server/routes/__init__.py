"""What each address does: one module per resource, each with its `ROUTES`."""
