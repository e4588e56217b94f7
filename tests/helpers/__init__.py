"""Shared by the tests: worlds in memory, peers, records of calls."""
