"""Nights with faults: the production handlers on a virtual clock, every run replayable from its seed.

Read `night.py` first: it puts a night together. `docs/reliability.md` says what is promised, checked and left out.
"""
