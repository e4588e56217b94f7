"""`make bench`: runs every measurement and writes build/bench.json. QUICK=1 measures the same with fewer repeats.

    python -m benchmarks [--quick] [--only FAMILY …]

`--only` measures some families and keeps the figures of the others in build/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from commands.run import run_command
from local import BUILD, ROOT, CommandError
from simulation.situations import SITUATIONS_OF_CODES

from . import cold_start, functions, isolation, lanes, ledger_units, redrive, release, report, whole_path, worker
from .latent_sqs import latent
from .world import embedded

RESULT = BUILD / "bench.json"
Say = Callable[[str], None]


def families(quick: bool) -> dict[str, Callable[[Say], dict[str, Any]]]:
    """The measurements in their order. Each returns its part of the JSON."""
    growth = {10_000: 1} if quick else {10_000: 3, 100_000: 3, 1_000_000: 1}  # repeats by size

    def measure_release(say: Say) -> dict[str, Any]:
        with embedded() as world, latent(release.LATENCY_MS) as latent_world:
            at_latency = release.measure_at_latency(latent_world, 1 if quick else 5, say)
            return {"release": {**release.measure(world, 1 if quick else 5, growth, say), "at_8ms": at_latency}}

    def measure_path(say: Say) -> dict[str, Any]:
        with embedded() as world:
            return {"whole_path": whole_path.measure(world, 200 if quick else 1_000, 20 if quick else 100, say)}

    def measure_worker(say: Say) -> dict[str, Any]:
        with embedded() as world:
            return {"worker": worker.measure(world, 3 if quick else 15, say)}

    def measure_functions(say: Say) -> dict[str, Any]:
        with embedded() as world:
            return functions.measure(world, 3 if quick else 15, say)

    def measure_isolation(say: Say) -> dict[str, Any]:
        if quick:
            return isolation.measure(rounds=1, released=20_000, codes=15, shared_wait_s=5, say=say)
        return isolation.measure(rounds=3, released=100_000, codes=40, shared_wait_s=10, say=say)

    def measure_urgent(say: Say) -> dict[str, Any]:
        every = [name for name in SITUATIONS_OF_CODES if name != lanes.IDLE]
        return lanes.measure_urgent(lanes.QUICK_SITUATIONS if quick else every, say)

    def measure_paced(say: Say) -> dict[str, Any]:
        return lanes.measure_paced(40.0 if quick else 250.0, say)

    def measure_ledger(say: Say) -> dict[str, Any]:
        letters = 1_000 if quick else redrive.LETTERS
        with embedded() as world:
            say(f"ledger: its units, then a redrive of {letters:,} letters")
            redriven = redrive.measure(world, letters)
            return {
                **ledger_units.measure(world),
                "redrive": redriven,
                "redrive_per_second": redriven["redrive_per_second"],
            }

    return {
        "release": measure_release,
        "whole_path": measure_path,
        "worker": measure_worker,
        "functions": measure_functions,
        "cold_start": lambda say: cold_start.measure(1 if quick else 5, say),
        "isolation": measure_isolation,
        "urgent": measure_urgent,
        "paced": measure_paced,
        "ledger": measure_ledger,
    }


def machine() -> dict[str, Any]:
    """The machine of the measurement. Wall times are those of this machine and include its other work."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def commit() -> str:
    """The measured commit, marked as dirty if the tree has changed since."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def main() -> None:
    """Measure, write and show."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure everything and write build/bench.json."
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats: under two minutes")
    parser.add_argument("--only", nargs="+", choices=families(quick=True), metavar="FAMILY", help="only these families")
    arguments = parser.parse_args()
    console = Console()
    began = time.monotonic()
    result = json.loads(RESULT.read_text()) if arguments.only and RESULT.exists() else {}
    result |= {"commit": commit(), "machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    result["quick"] = arguments.quick or bool(arguments.only and result.get("quick"))
    took_s = result.setdefault("took_s", {})
    failed: dict[str, str] = {}
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

        for name, measure in families(arguments.quick).items():
            if arguments.only and name not in arguments.only:
                continue
            family_began = time.monotonic()
            try:
                result |= measure(say)
            except (RuntimeError, CommandError) as fault:  # the other families are still worth measuring
                failed[name] = str(fault)
                continue
            took_s[name] = round(time.monotonic() - family_began, 1)
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    report.show(result, console)
    console.print(f"{time.monotonic() - began:.0f} s in all. Written: {os.path.relpath(RESULT, ROOT)}")
    if failed:
        sys.exit("Not measured: " + "; ".join(f"{name}: {fault}" for name, fault in failed.items()))


if __name__ == "__main__":
    run_command(main)
