"""The consent that counts for one notification, out of the records of its recipient and of its address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..notification.notification import Notification, consent_keys
from ..rule.terms import Consent


def consent_for(notification: Notification, records: Mapping[str, Consent]) -> Consent | None:
    """The consent by which the rule judges a notification. None where neither recipient nor address has a record."""
    return consent_under(consent_keys(notification), records)


def consent_under(keys: Sequence[str], records: Mapping[str, Consent]) -> Consent | None:
    """The consent of a recipient and an address by their keys, the address last. They may be the same key.

    Where both have a record, what restricts counts: an opt-out under either key, and a consent only if neither record
    lacks it. The consents of a record that is for other addresses do not count for this one. Its opt-out does, and so
    does its refusal of advertising.
    """
    if len(keys) == 1:
        return records.get(keys[0])
    found = [(key, records[key]) for key in keys if key in records]
    if not found:
        return None
    address = keys[-1]
    counting = [each for key, each in found if key == address or not each.addresses or address in each.addresses]
    refused = any(each.advertising_consent is False for _, each in found)
    agreed = any(each.advertising_consent for each in counting)
    return Consent(
        night_consent=bool(counting) and all(each.night_consent for each in counting),
        opted_out=any(each.opted_out for _, each in found),
        advertising_consent=False if refused else agreed or None,
    )
