"""The deployment that a command works on: in an account, or what `make local` runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from commands import CommandError
from commands.deployment import read_outputs
from local import deploy, server
from local.aws import client

TARGET_HELP = (
    "It works on what `make local` runs, or with OUTPUTS=(a CDK outputs file) in the account of the environment's "
    "credentials; DEPLOYMENT= chooses one of several in that file."
)
"""The end of each command's help."""


class Target(NamedTuple):
    """A deployment. `client` makes a boto3 client of a service there; `outputs` are those of the stack."""

    client: Callable[[str], Any]
    outputs: dict[str, str]


def target() -> Target:
    """Return the deployment of the CDK outputs file that OUTPUTS= names, or what `make local` runs.

    DEPLOYMENT= chooses one of several in the file. Raises `CommandError` if there is neither.
    """
    if path := os.environ.get("OUTPUTS"):
        config = Config(retries={"mode": "adaptive", "total_max_attempts": 10}, max_pool_connections=32)
        return Target(partial(boto3.client, config=config), read_outputs(Path(path), os.environ.get("DEPLOYMENT", "")))
    if background := server.running_in_background():
        return Target(partial(client, background.endpoint), read_outputs(deploy.OUTPUTS))
    raise CommandError("Nothing is running (`make local` starts it), and OUTPUTS= names no deployment's outputs file.")
