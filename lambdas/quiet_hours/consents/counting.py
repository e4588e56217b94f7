"""The consent that counts for one notification, out of the records of its recipient and of its address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..notification.notification import Notification, consent_keys
from ..rule.policy import Consent


def consent_for(notification: Notification, records: Mapping[str, Consent]) -> Consent | None:
    """The consent by which the rule judges a notification. None where neither recipient nor address has a record."""
    return consent_under(consent_keys(notification), records)


def consent_under(keys: Sequence[str], records: Mapping[str, Consent]) -> Consent | None:
    """The consent of a recipient and an address by their keys, the address last. They may be the same key.

    Where both have a record, what restricts counts: an opt-out under either key, and night consent only if neither
    record lacks it.
    """
    found = [records[key] for key in keys if key in records]
    if len(found) < 2:
        return found[0] if found else None
    return Consent(
        night_consent=all(each.night_consent for each in found),
        opted_out=any(each.opted_out for each in found),
    )
