"""Sets the quiet hours of a stack on the embedded AWS, so that it is night or day there at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from . import CommandError
from .aws import client

FUNCTIONS = ("Producer", "Consumer", "Scheduler", "Worker")


def set_quiet_hours(endpoint: str, outputs: Mapping[str, str], start: datetime, end: datetime) -> None:
    """Let quiet hours be from `start` to `end`, every day, for every function that asks the rule.

    A changed environment ends the functions that are running, as it does on AWS. Raises `CommandError`.
    """
    functions = client(endpoint, "lambda")
    window = {
        "QUIET_HOURS_TIMEZONE": "UTC",
        "QUIET_HOURS_START": f"{start.astimezone(UTC):%H:%M}",
        "QUIET_HOURS_END": f"{end.astimezone(UTC):%H:%M}",
        "QUIET_HOURS_KAKAO_CLOSED": "never",
    }
    names = [outputs[f"{each}FunctionName"] for each in FUNCTIONS]
    for name in names:
        variables = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        if not window.keys() <= variables.keys():
            raise CommandError(f"{name} no longer takes quiet hours from {', '.join(window)}.")
        functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables | window})
    for name in names:
        functions.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
