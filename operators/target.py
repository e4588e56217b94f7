"""Which deployment a command works on: the one that OUTPUTS= names, in an account, or what `make local` runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local import BUILD, CommandError, deploy, server
from local.aws import client


def target() -> tuple[Callable[[str], Any], dict[str, str]]:
    """What makes a client of a service, and the deployment's outputs. Raises `LocalError` if there is none."""
    if path := os.environ.get("OUTPUTS"):
        config = Config(retries={"mode": "adaptive", "total_max_attempts": 10}, max_pool_connections=32)
        return partial(boto3.client, config=config), deploy.read_outputs(Path(path))
    if found := server.running_in_background():
        return partial(client, f"http://127.0.0.1:{found[1]}"), deploy.read_outputs(BUILD / "outputs.json")
    raise CommandError("Nothing is running (`make local` starts it), and OUTPUTS= names no deployment's outputs file.")
