"""Nights with faults: the production handlers on a virtual clock. A seed replays its night exactly.

Read `night.py` first: it puts a night together. `docs/reliability.md` states the promises, the checks and the limits.
"""
