"""The characters that an SMS can carry.

Korean networks take EUC-KR, which is KS X 1001 and ASCII. A text with any other character is refused at acceptance,
when its sender can still mend it, and not hours later when it is sent.
"""

from __future__ import annotations

from ..settings import EUC_KR, Settings
from .notification import Notification

_FILLER = b"\xa4\xd4"
"""Python's codec writes syllables that KS X 1001 lacks in eight bytes, which begin so; no phone network takes those."""


def checks_sms(settings: Settings) -> bool:
    """True if the texts of an SMS are checked in this deployment."""
    return settings.sms_encoding == EUC_KR


def sms_faults(notification: Notification, settings: Settings) -> list[str]:
    """The first character of title and body that the SMS cannot carry: one `field: fault` each, and never a text.

    Title and body are all that an SMS shows. No SMS provider has templates, so a template alone makes no SMS, and
    variables beside a body are not sent.
    """
    if notification["channel"] != "sms" or not checks_sms(settings):
        return []
    content = notification["content"]
    faults = [] if "body" in content else ["content: needs a body, because no SMS provider has templates"]
    for name in ("title", "body"):
        text = content.get(name, "")
        if (place := not_in_euc_kr(text)) is not None:
            code_point = f"U+{ord(text[place]):04X}"
            faults.append(f"content: {name} has {code_point} at character {place + 1}, which an SMS cannot carry")
    return faults


def not_in_euc_kr(text: str) -> int | None:
    """Return the place of the first character that EUC-KR lacks, None if it has all of them."""
    if text.isascii():
        return None
    try:
        if _FILLER not in text.encode("euc_kr"):
            return None
    except UnicodeEncodeError:
        pass
    return next((place for place, character in enumerate(text) if not _is_in_euc_kr(character)), None)


def _is_in_euc_kr(character: str) -> bool:
    try:
        return len(character.encode("euc_kr")) <= 2
    except UnicodeEncodeError:
        return False
