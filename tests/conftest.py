"""Decides for all tests which of them share a process, and how Hypothesis chooses its examples."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no limit on their time: a busy machine must not fail a test.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

COLLECT_AFTER = (50_000, 20, 50)
"""The thresholds of Python's garbage collector: ten percent less CPU than with Python's own."""

STACK_FIXTURES = {"stack", "other_stack"}


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what importing and collecting make to the end: it is no garbage, and each collection would look through it
    again. The tests make little garbage, too, so Python looks for it less often than it would by itself."""
    gc.disable()
    yield
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put all tests of the synthesised stack into one group, so that one process synthesises it once."""
    for item in items:
        if STACK_FIXTURES & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("stack"))
