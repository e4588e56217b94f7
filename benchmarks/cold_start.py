"""Cold start: measures the import of a function, and the making of all that it keeps, in a new process.

The process sees the asset as on Lambda: read-only, and so without byte code. It sees boto3 beside the asset and with
byte code, as in the runtime. For comparison bare Python and `boto3.client("sqs")` alone are measured too.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import _lru_cache_wrapper
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from infra import asset
from local.aws import shell_environment

from .measure import spread

BARE = "bare Python"
CLIENT = 'boto3.client("sqs")'
_PROGRAM = "import sys, time; {}; sys.stdout.write(str(time.process_time() * 1000))"


def functions(root: Path) -> list[str]:
    """The modules that have a handler."""
    names = sorted(path.stem for path in (root / "lambdas").glob("*.py") if not path.stem.startswith("_"))
    return [name for name in names if "\ndef handler(" in (root / "lambdas" / f"{name}.py").read_text()]


def start(module_name: str) -> None:
    """Do what happens once in a function's process: import it, and make whatever it keeps (`@cache`)."""
    module = importlib.import_module(module_name)
    for each in vars(module).values():
        own = isinstance(each, _lru_cache_wrapper) and each.__module__ == module_name
        if own and not inspect.signature(each).parameters:
            each()


def measure(repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure CPU milliseconds from the start of a process, as medians of `repeats` rounds, and the size of the
    asset."""
    directory = asset.build()
    files = [path for path in directory.rglob("*") if path.is_file()]
    programs = {BARE: "pass", CLIENT: 'import boto3; boto3.client("sqs")'} | {
        name: _start_program(f"lambdas.{name}") for name in functions(directory)
    }
    samples: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats):
        say(f"cold start: round {repeat + 1} of {repeats}")
        for name, program in programs.items():
            samples[name].append(_cpu_ms(program, directory))
    return {
        "cold_start": {name: median(values) for name, values in samples.items() if name not in (BARE, CLIENT)},
        "cold_start_against": {name: median(samples[name]) for name in (BARE, CLIENT)},
        "cold_start_spread": {name: spread(values) for name, values in samples.items()},
        "asset_bytes": sum(path.stat().st_size for path in files),
        "asset_zip_bytes": _zipped_bytes(directory, files),
    }


def _start_program(module: str) -> str:
    source = inspect.getsource(start).encode()
    return f"import importlib, inspect; from functools import _lru_cache_wrapper; exec({source!r}); start({module!r})"


def _cpu_ms(program: str, directory: Path) -> float:
    env = shell_environment("http://127.0.0.1:9") | {
        "PATH": os.defpath,
        "PYTHONPATH": str(directory),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }
    command = [sys.executable, "-c", _PROGRAM.format(program)]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"a function could not be imported from the asset:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def _zipped_bytes(directory: Path, files: list[Path]) -> int:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            archive.write(path, path.relative_to(directory))
    return whole.tell()
