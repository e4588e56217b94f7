"""`make sam-env`: the environment file for `sam local invoke`, so that a function in a container works on `make local`.

    python -m local.sam_env [HOST]

HOST is what a container calls this machine: host.docker.internal unless told.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit

from lambdas.quiet_hours.settings import Settings

from . import BUILD, ROOT, CommandError, deploy, server
from .aws import client
from .command import run_command
from .start import OUTPUTS

FILE = BUILD / "sam-env.json"
HOST = "host.docker.internal"


def deployed_settings(lambda_client: Any, function_name: str) -> Settings:
    """The settings that a function was deployed with, the names of queues and tables resolved."""
    function = lambda_client.get_function_configuration(FunctionName=function_name)
    return Settings.from_env(function["Environment"]["Variables"])


def sam_environment(settings: Settings, endpoint: str) -> dict[str, dict[str, str]]:
    """What `sam local invoke --env-vars` takes. `endpoint` is the embedded AWS as the function will reach it."""
    there = urlsplit(endpoint)
    queue_urls = {
        field.name: urlsplit(getattr(settings, field.name))._replace(scheme=there.scheme, netloc=there.netloc).geturl()
        for field in fields(settings)
        if field.name.endswith("_queue_url")
    }
    return {"Parameters": {**replace(settings, **queue_urls).to_env(), "AWS_ENDPOINT_URL": endpoint}}


def main() -> None:
    """Write the file. Raises `LocalError` unless `make local` runs."""
    found = server.running_in_background()
    if found is None or not OUTPUTS.exists():
        raise CommandError("Nothing is running: `make local` starts it.")
    port = found[1]
    # Every function has the same settings; any of them will do.
    function_name = deploy.read_outputs(OUTPUTS)["ProducerFunctionName"]
    settings = deployed_settings(client(f"http://127.0.0.1:{port}", "lambda"), function_name)
    host = sys.argv[1] if len(sys.argv) > 1 else HOST
    FILE.write_text(json.dumps(sam_environment(settings, f"http://{host}:{port}"), indent=2) + "\n")
    print(f"Written: {FILE.relative_to(ROOT)}. docs/local.md says how to use it.")


if __name__ == "__main__":
    run_command(main)
