"""The fingerprint of a notification: it tells a duplicate from another notification that has the same id."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from hashlib import sha256

from .notification import Notification

VERSION = "1:"
"""Raise this when the same notification would get another fingerprint, for example because the canonical form of an
address changes. Fingerprints of two versions cannot be compared, so they count as equal."""

DIGEST_CHARACTERS = 22
"""132 bits: nobody finds other content with the same fingerprint."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def fingerprint(notification: Notification) -> str:
    """The fingerprint of what a recipient would get: channel, canonical address and content.

    The other fields may differ between two sends of the same notification: each gets times of its own.
    """
    sent = _encode([notification["channel"], notification["address"], notification["content"]])
    return VERSION + urlsafe_b64encode(sha256(sent.encode()).digest())[:DIGEST_CHARACTERS].decode()


def may_be_the_same(one: str, other: str) -> bool:
    """True unless two fingerprints show that their notifications differ. An empty one, and one of another version,
    says nothing."""
    return one == other or not one or not other or one.partition(":")[0] != other.partition(":")[0]
