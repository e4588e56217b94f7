"""Addresses: each channel has one canonical form, so that one recipient has one key."""

from __future__ import annotations

import re
from collections.abc import Callable


def canonical_address(channel: str, address: str) -> str:
    """The canonical form of an address, so that a recipient stays the same however their address was typed.

    Phone numbers become E.164 (a number without a country is Korean), e-mail addresses lower case; others are trimmed.
    Raises `ValueError` that says what the channel expects.
    """
    return _ADDRESSES[channel](address.strip())


_E164 = re.compile(r"\+(?:82[1-9][0-9]{7,10}|(?!82)[1-9][0-9]{6,14})")

_KOREAN = re.compile(r"(?:0|\+820)([1-9][0-9]{7,10})")

_WRITTEN_BETWEEN = re.compile(r"[\s().-]")

_MAY_BE_AN_ADDRESS = re.compile(r"[+0(]|[^@]+@")


def canonical_recipient(recipient_id: str) -> str:
    """The one key of a recipient.

    An id that reads as a phone number or an e-mail address becomes its canonical form; any other id stays as it is. So
    an opt-out by `010-1234-5678` counts for `+821012345678` too.
    """
    if _MAY_BE_AN_ADDRESS.match(recipient_id):
        for form in (_phone, _email):
            try:
                return form(recipient_id.strip())
            except ValueError:
                continue
    return recipient_id


def _phone(address: str) -> str:
    digits = address if _E164.fullmatch(address) else _WRITTEN_BETWEEN.sub("", address)
    if _E164.fullmatch(digits):
        return digits
    if korean := _KOREAN.fullmatch(digits):
        return "+82" + korean[1]
    raise ValueError("must be a Korean number such as 010-1234-5678 or an international one such as +14155550100")


_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def _email(address: str) -> str:
    fault = ValueError("must be an e-mail address such as name@example.com")
    local, at, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        raise fault from None
    if not (
        at and len(local) <= 64 and len(domain) <= 253 and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain)
    ):
        raise fault
    return f"{local.lower()}@{domain}"


def _slack(address: str) -> str:
    if re.fullmatch(r"#[\w.-]{1,80}", channel := address.lower()):
        return channel
    if re.fullmatch(r"[CDGUW][A-Z0-9]{2,20}", address):
        return address
    raise ValueError("must be a channel such as #orders or a Slack id such as C024BE91L")


_OPAQUE = re.compile(r"[!-~]{1,512}")


def _opaque(address: str) -> str:
    if _OPAQUE.fullmatch(address) and "://" not in address:
        return address
    raise ValueError("must have 1 to 512 visible ASCII characters and not be a URL: targets come from configuration")


_ADDRESSES: dict[str, Callable[[str], str]] = {
    "kakao": _phone,
    "sms": _phone,
    "email": _email,
    "push": _opaque,
    "slack": _slack,
    "webhook": _opaque,
    "log": _opaque,
}
