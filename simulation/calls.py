"""A process's call to a simulated AWS service, with the faults on the way there and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .faults import Faults, service_error
from .world import Process

SLOW_CALL_S = 4.0
SLOW_ANSWERS = 0.25
"""The share of calls with a separate pause before the answer. Others may act in it. It is a share only, because each
pause costs computing time."""


class Client:
    """The common part of the two simulated boto3 clients."""

    def __init__(self, process: Process, faults: Faults) -> None:
        self._process = process
        self._faults = faults

    def _call(self, operation: str, effect: Callable[[bool], Any]) -> Any:
        """Let time pass, then the effect happens, then time may pass again. `effect(True)` refuses part of the call."""
        process, faults = self._process, self._faults
        world = process.world
        fault = faults.at_call(operation, world.t)
        process.pause(world.rng.random() * faults.latency_s)
        if fault is None:
            answer = effect(False)
            if world.rng.random() < SLOW_ANSWERS:
                process.pause(world.rng.random() * faults.latency_s)
            return answer
        if process.name == "worker":
            faults.at_worker += 1
            if fault in ("slow_call", "partial"):
                faults.worker_slowed.append(world.t)
        if world.note:
            world.note(f"{process.name}: {operation} hit by {fault}", None)
        if fault == "die_before":
            process.die(f"killed before {operation}")
        if fault == "error_before":
            raise service_error(world.rng, operation, lost=False)
        if fault == "slow_call":
            process.pause(world.rng.random() * SLOW_CALL_S)
        answer = effect(fault == "partial")
        process.pause(world.rng.random() * faults.latency_s)
        if fault == "die_after":
            process.die(f"killed after {operation}")
        if fault == "error_after":
            raise service_error(world.rng, operation, lost=True)
        return answer
