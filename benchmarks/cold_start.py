"""Cold start: measures the import of a function, and the making of all that it keeps, in a new process.

The process sees the asset as on Lambda: read-only. It has byte code, as where the deployer's Python is the runtime's,
and then again none, as elsewhere. It sees boto3 beside the asset and with byte code, as in the runtime.

For comparison bare Python and `boto3.client("sqs")` alone are measured too, and the least that producer and worker
need: the boto3 clients that they make, and Powertools' Logger from the same asset.
"""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import _lru_cache_wrapper
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from infra import asset
from local.aws import shell_environment

from .measure import headline, spread

BARE = "bare Python"
CLIENT = 'boto3.client("sqs")'
CLIENTS = {"producer": ("sqs", "dynamodb"), "worker": ("sqs", "dynamodb", "secretsmanager")}
"""The boto3 clients of the functions that a password code pays for."""

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
    asset. The ratios are of processes that ran in one round."""
    directory, from_source = asset.build(runtime=asset.THIS_PYTHON), asset.build()
    against = {BARE: "pass", CLIENT: 'import boto3; boto3.client("sqs")'}
    against |= {least(name): _least_program(CLIENTS[name]) for name in CLIENTS}
    ours = {name: _start_program(f"lambdas.{name}") for name in functions(directory)}
    samples: dict[str, list[float]] = {name: [] for name in against | ours}
    of_source: dict[str, list[float]] = {name: [] for name in against | ours}
    for repeat in range(repeats):
        say(f"cold start: round {repeat + 1} of {repeats}")
        for name, program in (against | ours).items():
            samples[name].append(_cpu_ms(program, directory))
            of_source[name].append(_cpu_ms(program, from_source))
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {
        "cold_start": {name: median(samples[name]) for name in ours},
        "cold_start_against": {name: median(samples[name]) for name in against},
        "cold_start_spread": {name: spread(values) for name, values in samples.items()},
        "cold_start_from_source_spread": {name: spread(values) for name, values in of_source.items()},
        "cold_start_ratio": headline(**_over_least(samples)),
        "cold_start_ratio_from_source": headline(**_over_least(of_source)),
        "asset_bytes": sum(path.stat().st_size for path in files),
        "asset_zip_bytes": _zipped_bytes(directory, files),
    }


def least(name: str) -> str:
    """The name of the process that has only what a function cannot do without."""
    return f"{name}'s clients and Logger"


def _over_least(samples: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The CPU of each function over the least, round by round."""
    return {
        name: [own / bound for own, bound in zip(samples[name], samples[least(name)], strict=True)]
        for name in CLIENTS
        if name in samples
    }


def _least_program(services: Sequence[str]) -> str:
    clients = "; ".join(f"boto3.client({service!r})" for service in services)
    return f"import boto3; from aws_lambda_powertools import Logger; Logger(); {clients}"


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
