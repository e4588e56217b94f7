"""`make local`: starts the embedded AWS, deploys the stack, and leaves it running in the background."""

from __future__ import annotations

import os
import shlex
import time

from commands.run import run_command

from . import BUILD, CommandError, deploy, server, shown
from .aws import shell_environment
from .deploy import OUTPUTS
from .status import print_status

ENVIRONMENT = BUILD / "local.env"

_NEXT = """
Try, in a shell of its own:

  . build/local.env && .venv/bin/python
  >>> import boto3, json
  >>> out = json.load(open("build/outputs.json"))["QuietHours"]
  >>> boto3.client("sqs").send_message(QueueUrl=out["NotificationQueueUrl"], MessageBody=json.dumps({
  ...     "channel": "log", "address": "me", "category": "advertising",
  ...     "content": {"body": "(광고) Night sale! 무료수신거부 080-000-0000"}}, ensure_ascii=False))

make local-status     shows it on the wait queue in quiet hours; by day it is delivered at once
make local CONTEXT="-c timezone=UTC -c quietHoursStart=00:00 -c quietHoursEnd=23:59 -c kakaoClosed=never"
                      deploys the stack again, with quiet hours for all of the day
make local-stop       ends it
"""


def main() -> None:
    """Start the embedded AWS unless it runs, deploy the stack to it, and say what to try next.

    ENDPOINT names an embedded AWS that somebody else has started, such as the one of compose.yaml.
    """
    began = time.monotonic()
    elsewhere = os.environ.get("ENDPOINT", "").rstrip("/")
    background = server.running_in_background()
    if elsewhere:
        server.check_runs(elsewhere)
        endpoint = elsewhere
        print(f"Deploying the stack to the embedded AWS on {endpoint} …", flush=True)
    elif background:
        endpoint = background.endpoint
        print(f"The embedded AWS already runs on port {background.port}: deploying the stack to it again.", flush=True)
    else:
        endpoint = server.start_in_background(requested_port() or server.DEFAULT_PORT)
        print(f"The embedded AWS runs on {endpoint}. Deploying the stack …", flush=True)
    try:
        outputs = deploy.deploy(endpoint, BUILD / "local" / "deploy", context())
    except BaseException:
        if not background and not elsewhere:
            server.stop_in_background()
        raise
    OUTPUTS.write_bytes((BUILD / "local" / "deploy" / "outputs.json").read_bytes())
    ENVIRONMENT.write_text(
        "unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE\n"
        + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in shell_environment(endpoint).items())
    )
    written = " and ".join(str(shown(path)) for path in (OUTPUTS, ENVIRONMENT))
    print(f"Deployed, {time.monotonic() - began:.0f} s after the start. Written: {written}.\n")
    print_status(endpoint, outputs)
    print(_NEXT)


def requested_port() -> int | None:
    """Return the environment's PORT, if any. Raises `CommandError` if it is not a port."""
    port = os.environ.get("PORT", "")
    if not port:
        return None
    if not port.isascii() or not port.isdigit() or not 1024 <= int(port) <= 65535:
        raise CommandError(f"PORT must be a number from 1024 to 65535, not {port!r}.")
    return int(port)


def context() -> list[str]:
    """Return the environment's CONTEXT as arguments for the CDK."""
    return shlex.split(os.environ.get("CONTEXT", ""))


if __name__ == "__main__":
    run_command(main)
