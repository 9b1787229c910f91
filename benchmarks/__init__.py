"""Measurements of the whole system, for people to run: `make bench-latency`."""
