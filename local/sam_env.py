"""`make sam-env`: writes the environment file with which `sam local invoke` runs a function against `make local`.

    python -m local.sam_env [HOST]

HOST is the name of this machine inside a container; host.docker.internal by default.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields, replace
from urllib.parse import urlsplit

from commands.deployment import deployed_settings, read_outputs
from commands.run import run_command
from lambdas.quiet_hours.settings import Settings

from . import BUILD, CommandError, server, shown
from .aws import client
from .deploy import OUTPUTS

FILE = BUILD / "sam-env.json"
HOST = "host.docker.internal"


def sam_environment(settings: Settings, endpoint: str) -> dict[str, dict[str, str]]:
    """Return what `sam local invoke --env-vars` reads. `endpoint` is the embedded AWS as the function reaches it."""
    there = urlsplit(endpoint)
    queue_urls = {
        field.name: urlsplit(getattr(settings, field.name))._replace(scheme=there.scheme, netloc=there.netloc).geturl()
        for field in fields(settings)
        if field.name.endswith("_queue_url")
    }
    return {"Parameters": {**replace(settings, **queue_urls).to_env(), "AWS_ENDPOINT_URL": endpoint}}


def main() -> None:
    """Write the file. Raises `CommandError` unless `make local` runs."""
    background = server.running_in_background()
    if background is None or not OUTPUTS.exists():
        raise CommandError("Nothing is running: `make local` starts it.")
    # Every function has the same settings: any of them will do.
    function_name = read_outputs(OUTPUTS)["ProducerFunctionName"]
    settings = deployed_settings(client(background.endpoint, "lambda"), function_name)
    host = sys.argv[1] if len(sys.argv) > 1 else HOST
    FILE.write_text(json.dumps(sam_environment(settings, f"http://{host}:{background.port}"), indent=2) + "\n")
    print(f"Written: {shown(FILE)}. docs/local.md says how to use it.")


if __name__ == "__main__":
    run_command(main)
