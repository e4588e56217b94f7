"""Reads a channel's part of the secret. An error names the setting and never shows its value."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import Misconfigured
from .http import LOCAL_HOSTS, PostClient

RATE_MAX = 100_000

Config = Mapping[str, Any]


def local_use(env: Mapping[str, str] = os.environ) -> bool:
    """True if AWS itself is on this machine: the embedded AWS says so to the functions that it runs. Only then may
    channels call this machine, because in a real Lambda 127.0.0.1 is the API of Lambda's runtime."""
    return urlsplit(env.get("AWS_ENDPOINT_URL", "")).hostname in LOCAL_HOSTS


def required(config: Config, channel: str, name: str) -> str:
    """Return a required setting as text. Raises `Misconfigured`."""
    if (value := optional(config, channel, name)) is None:
        raise Misconfigured(f"{channel}.{name} must be set")
    return value


def optional(config: Config, channel: str, name: str) -> str | None:
    """Return a setting of visible ASCII characters, or None if it is not set. Raises `Misconfigured`."""
    value = config.get(name)
    if value is not None and (not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,2048}", value)):
        raise Misconfigured(f"{channel}.{name} must be text of visible ASCII characters")
    return value


def rate_per_s(config: Config, channel: str, default: float) -> float:
    """Return how many notifications a second the provider takes from this account. Raises `Misconfigured`."""
    value = config.get("rate_per_s", default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= RATE_MAX:
        raise Misconfigured(f"{channel}.rate_per_s must be a number above 0 and at most {RATE_MAX}")
    return value


def can_resend(config: Config, channel: str) -> bool:
    """Return the rule for unknown outcomes at a provider without an idempotency key: true sends again, at the risk of
    delivering twice; false dead-letters, at the risk of not delivering. Raises `Misconfigured`."""
    rule = config.get("unknown_outcome", "dead_letter")
    if rule not in ("resend", "dead_letter"):
        raise Misconfigured(f'{channel}.unknown_outcome must be "resend" or "dead_letter"')
    return bool(rule == "resend")


def post_client(
    url: str, deadline_s: float, channel: str, name: str, only_host: str | None = None, local: bool = False
) -> PostClient:
    """Return a client of a configured URL, which may be on this machine only if `local`. Raises `Misconfigured`."""
    try:
        return PostClient(url, deadline_s, only_host, local)
    except ValueError as fault:
        raise Misconfigured(f"{channel}.{name}: {fault}" if name != "url" else f"{channel}.{fault}") from None


def endpoint(config: Config, channel: str, url: str, deadline_s: float) -> PostClient:
    """Return a client of the provider's own `url`, or of the same path at a fake on this machine if `endpoint_url` is
    set. Raises `Misconfigured`."""
    fake = local_endpoint(config, channel)
    host, _, path = url.removeprefix("https://").partition("/")
    return post_client(f"{fake}/{path}" if fake else url, deadline_s, channel, "endpoint_url", host, local=True)


def local_endpoint(config: Config, channel: str) -> str | None:
    """Return `endpoint_url`, which must be on this machine: any other host would get the credentials. `channels.build`
    has refused the setting already unless this is local use."""
    url = optional(config, channel, "endpoint_url")
    found = None if url is None else _LOCAL.fullmatch(url)
    if url is not None and (found is None or not 0 < int(found[1]) < 65_536):
        raise Misconfigured(f"{channel}.endpoint_url is for local use only, and must be http://127.0.0.1:PORT")
    return url


_LOCAL = re.compile(r"http://(?:127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})")
