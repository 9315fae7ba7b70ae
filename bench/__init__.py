"""Benchmarks: `python -m bench W1` from the root of the checkout. See README.md beside this file."""
