"""Measurements that decisions rest on. Each runs by itself: `python -m benchmarks.<name>`."""
