"""`make channels-set CHANNEL=sms SET="from=0212345678"`: change one channel's part of the channel secret.

`CHANNEL=recipients` is the allow-list of a restricted deployment (docs/recipients.md), `CHANNEL=alerts` is for alerts.

The whole secret is read, one part of it is changed and checked as the worker would check it, and the change is shown
before it is written. Credentials are masked. They come from a file or from standard input, so that no shell keeps them
in its history. The other parts stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError

from commands import CommandError
from commands.run import run_command
from lambdas.quiet_hours import channels
from lambdas.quiet_hours.channels import NotConfigured, allow_list
from lambdas.quiet_hours.channels.configuration import post_client, required
from lambdas.quiet_hours.channels.slack import WEBHOOK_HOST
from lambdas.quiet_hours.errors import Misconfigured
from lambdas.quiet_hours.stores.clients import error_code

from .target import TARGET_HELP, target

EVERY = ("rate_per_s", "endpoint_url")
SETTINGS = {
    "kakao": ("api_key", "api_secret", "pf_id", "targeting", "unknown_outcome", *EVERY),
    "sms": (
        *("provider", "from", "api_key", "api_secret", "configuration_set", "region", "unknown_outcome"),
        *EVERY,
    ),
    "email": ("from", "configuration_set", "unsubscribe_url", "region", "unknown_outcome", *EVERY),
    "push": ("region", "unknown_outcome", *EVERY),
    "slack": ("token", "webhooks", "unknown_outcome", *EVERY),
    "webhook": ("url", "secret", *EVERY),
    "alerts": ("slack_url",),
    "recipients": ("addresses",),
}
"""The settings of each channel (docs/channels.md), and of the alerts and the allow-list, which are parts of the same
secret. A channel passes over a name that it does not know: a setting with a typing error would have no effect, and
nobody would know."""

SHOWN = frozenset(
    {"provider", "targeting", "unknown_outcome", "rate_per_s", "region", "configuration_set", "endpoint_url"}
)
"""The settings whose values are shown. All others are secret, or name somebody."""

ALERTS_DEADLINE_S = 5.0

END_SHOWN_FROM = 12
"""The length from which on the last two characters of a masked value are shown, to tell two credentials apart."""


class Stored(NamedTuple):
    """The channel secret as it is, and the version that was read."""

    parts: dict[str, Any]
    version: str


def read_secret(secrets: Any, name: str) -> Stored:
    """The secret. Raises `CommandError` if it cannot be read or understood."""
    try:
        answer = secrets.get_secret_value(SecretId=name)
    except ClientError as error:
        raise CommandError(f"The channel secret {name} cannot be read ({error_code(error)}).") from None
    try:
        parts = json.loads(answer["SecretString"])
    except (KeyError, ValueError):
        parts = None
    if not isinstance(parts, dict):
        raise CommandError(
            f"The channel secret {name} is not a JSON object, so the worker cannot use it either. Look at its previous "
            "version: aws secretsmanager get-secret-value --version-stage AWSPREVIOUS"
        )
    return Stored(parts, answer["VersionId"])


def changed(channel: str, part: Any, changes: Mapping[str, str], local: bool, region: str) -> dict[str, Any]:
    """The channel's part with the changes; an empty value removes a setting. Raises `CommandError` that names what is
    wrong and shows no value."""
    if channel not in SETTINGS:
        raise CommandError(f"CHANNEL= must be one of {', '.join(SETTINGS)}.")
    if unknown := sorted(changes.keys() - set(SETTINGS[channel])):
        raise CommandError(f"{channel} has no setting {', '.join(unknown)}; it has {', '.join(SETTINGS[channel])}.")
    result = dict(part) if isinstance(part, Mapping) else {}
    for name, value in changes.items():
        if value == "":
            result.pop(name, None)
        else:
            result[name] = _typed(channel, name, value)
    if result != part and (fault := fault_of(channel, result, local, region)):
        raise CommandError(f"Nothing is written: {fault}.")
    return result


def _typed(channel: str, name: str, value: str) -> Any:
    if name == "addresses" and not value.startswith("["):
        return [address for part in value.split(",") if (address := part.strip())]
    if name not in ("rate_per_s", "webhooks", "addresses"):
        return value
    try:
        return json.loads(value)
    except ValueError:
        form = {"rate_per_s": "a number", "webhooks": "a JSON object"}.get(name, "addresses with commas between them")
        raise CommandError(f"Nothing is written: {channel}.{name} must be {form}.") from None


def fault_of(channel: str, part: Mapping[str, Any], local: bool, region: str) -> str | None:
    """The reason for which the worker would not use this part, or None. `region` is the deployment's. It calls
    nobody."""

    def client(service: str, own_region: str | None, endpoint_url: str | None) -> Any:
        return boto3.client(service, own_region or region, endpoint_url=endpoint_url)

    if channel == "alerts":
        return _fault_of_alerts(part, local)
    if channel == "recipients":
        return _fault_of_recipients(part)
    built = channels.build(channel, part, lambda: datetime.now(UTC), client, local)
    if not isinstance(built, NotConfigured):
        return None
    (outcome,) = built.send([{}])
    return outcome.reason.rpartition("; ")[2]


def _fault_of_alerts(part: Mapping[str, Any], local: bool) -> str | None:
    try:
        url = required(part, "alerts", "slack_url")
        post_client(url, ALERTS_DEADLINE_S, "alerts", "slack_url", WEBHOOK_HOST, local)
    except Misconfigured as fault:
        return str(fault)
    return None


def _fault_of_recipients(part: Mapping[str, Any]) -> str | None:
    try:
        allow_list.listed(part)
    except Misconfigured as fault:
        return str(fault)
    return None


# --- what is shown


def differences(channel: str, before: Any, after: Mapping[str, Any]) -> list[str]:
    """One line for each setting that changes."""
    known = before if isinstance(before, Mapping) else {}
    lines = []
    for name in sorted(known.keys() | after.keys()):
        if known.get(name) == after.get(name):
            continue
        was = f"{masked(name, known[name])} -> " if name in known else "new: "
        lines.append(f"  {channel}.{name}: {was}{masked(name, after[name]) if name in after else 'removed'}")
    return lines


def masked(name: str, value: Any) -> str:
    """A value as it may be shown: in full only if it is no secret."""
    if name in SHOWN:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"{len(value)} address{'es' if len(value) != 1 else ''}"
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    text = str(value)
    end = f", ending in {text[-2:]}" if len(text) >= END_SHOWN_FROM else ""
    return f"{len(text)} characters{end}"


# --- the command


def set_channel(
    secrets: Any, name: str, channel: str, changes: Mapping[str, str], local: bool, confirmed: bool
) -> None:
    """Change one channel's part of a secret, after asking. Raises `CommandError`."""
    stored = read_secret(secrets, name)
    before = stored.parts.get(channel)
    after = changed(channel, before, changes, local, secrets.meta.region_name)
    lines = differences(channel, before, after)
    if not lines:
        print(f"{channel}: nothing changes. It has:")
        print("\n".join(f"  {channel}.{key}: {masked(key, value)}" for key, value in sorted(after.items())))
        return
    print(f"In {name}:")
    print("\n".join(lines))
    if not confirmed and not _is_confirmed():
        raise CommandError("Nothing is written.")
    if read_secret(secrets, name).version != stored.version:
        raise CommandError("Nothing is written: somebody else has changed the secret since it was read. Run it again.")
    secrets.put_secret_value(
        SecretId=name, SecretString=json.dumps(stored.parts | {channel: after}, ensure_ascii=False, indent=1)
    )
    print("It is written. Workers read the secret within a minute.")


def _is_confirmed() -> bool:
    if not sys.stdin.isatty():
        raise CommandError("Nothing is written: nobody can be asked here, so YES=1 has to say that it is right.")
    return input("Write this? [y/N] ").strip().lower() in ("y", "yes")


def read_changes(settings: Sequence[str], path: str | None) -> dict[str, str]:
    """The changes that arguments and a file name: `NAME=VALUE` each, in the file one a line, or a JSON object. A path
    of `-` is standard input. Raises `CommandError`."""
    changes = {}
    if path:
        try:
            text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}."
            ) from None
        changes = _from_json(text) if text.lstrip().startswith("{") else _from_lines(text.splitlines(), path)
    return changes | _from_lines(settings, "SET=")


def _from_json(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:
        raise CommandError("The file begins like a JSON object, and is none.") from None
    return {
        name: value if isinstance(value, str) else "" if value is None else json.dumps(value)
        for name, value in found.items()
    }


def _from_lines(lines: Sequence[str], source: str) -> dict[str, str]:
    changes = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise CommandError(f"{source}: number {number} must be NAME=VALUE; NAME= removes a setting.")
        changes[name.strip()] = value.strip()
    return changes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m operators.channels",
        description="Change one channel's part of the channel secret, after it was checked and shown. The other parts "
        "stay as they are.",
        epilog=TARGET_HELP,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    setting = commands.add_parser("set", help="change settings of one channel; without any, show them masked")
    setting.add_argument("channel", help=f"the channel: {', '.join(SETTINGS)}")
    setting.add_argument(
        "settings",
        nargs="*",
        metavar="NAME=VALUE",
        help="a setting; NAME= removes it. Credentials belong into --file, because shells keep what is typed",
    )
    setting.add_argument(
        "--file", metavar="PATH", help="a file with NAME=VALUE in each line, or a JSON object; - is standard input"
    )
    setting.add_argument("--yes", action="store_true", help="write without asking")
    return parser.parse_args()


def main() -> None:
    """Run the command. Raises `CommandError`, which says what went wrong."""
    arguments = _arguments()
    try:
        given = [*shlex.split(os.environ.get("SET", "")), *arguments.settings]
    except ValueError as fault:
        raise CommandError(f"SET= cannot be read: {fault}.") from None
    changes = read_changes(given, arguments.file)
    client, outputs = target()
    set_channel(
        client("secretsmanager"),
        outputs["ChannelSecretName"],
        arguments.channel,
        changes,
        local=not os.environ.get("OUTPUTS"),
        confirmed=arguments.yes,
    )


if __name__ == "__main__":
    run_command(main)
