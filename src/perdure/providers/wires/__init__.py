"""Wires: one module for each way of speaking to a provider.

Each has `connect(access, now_ms) -> Wire` and imports its vendor's library at its top. The modules are lazy doors:
`perdure.providers.models` imports one, by the name in the catalogue, when the first call over it is made.
"""
