"""Addresses: each channel has one canonical form, so that one recipient has one key."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote

from .cleaning import cleaned
from .fields import text_check
from .phone import e164, is_e164, reads_as_number, usual_e164

RECIPIENT_CHARACTERS_MAX = 512
"""The longest canonical address of any channel: whoever can be sent to can have a consent record."""

KEY_BYTES_MAX = 2048
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""

PHONE_FAULT = "must be a Korean number such as 010-1234-5678 or an international one such as +14155550100"
EMAIL_FAULT = "must be an e-mail address such as name@example.com"
SPREADSHEET_FAULT = (
    "is what a spreadsheet has made of a value: format the column as text, and fill it in again from its source"
)


def canonical_address(channel: str, address: str) -> str:
    """The canonical form of an address, so that a recipient stays the same however their address was typed.

    Phone numbers become E.164 (a number without a country is Korean), e-mail addresses lower case; others are trimmed.
    Raises `ValueError` that says what the channel expects.
    """
    return _ADDRESSES[channel](address)


_NEVER_AN_ADDRESS = re.compile("_?[A-Za-z][A-Za-z0-9_-]{0,500}")

_WHOLE_NUMBER = re.compile(r"[0-9]{6,}(?=\.0\Z)")
"""A customer number in a column of numbers, as some programs save it."""


def canonical_recipient(recipient_id: str) -> str:
    """Return the one key of a recipient.

    An id that reads as a phone number or an e-mail address becomes its canonical form; any other id is only cleaned. So
    an opt-out by `010-1234-5678` counts for `+821012345678` too.
    """
    if _NEVER_AN_ADDRESS.fullmatch(recipient_id) or is_e164(recipient_id):
        return recipient_id
    text = cleaned(recipient_id)
    number = _WHOLE_NUMBER.match(text)
    return _as_address(text) or (number[0] if number else text)


_text_fault = text_check(RECIPIENT_CHARACTERS_MAX)


def recipient_fault(recipient_id: object) -> str | None:
    """The reason why nobody would look under a recipient as a key, None if it can be one.

    It is the same for notifications, for statements about consents and for files.
    """
    if isinstance(recipient_id, str) and (_NEVER_AN_ADDRESS.fullmatch(recipient_id) or is_e164(recipient_id)):
        return None
    if fault := _text_fault(recipient_id):
        return fault
    text = cleaned(str(recipient_id))
    if not text:
        return "must be more than blanks"
    if "\ufffd" in text:
        return "has U+FFFD, which stands for bytes that were not UTF-8"
    if _MADE_BY_A_SPREADSHEET.fullmatch(text):
        return SPREADSHEET_FAULT
    if _as_address(text) is None:
        if reads_as_number(text):
            return f"reads as a phone number, but a phone number {PHONE_FAULT}"
        if _LIKE_AN_EMAIL.match(text):
            return f"reads as an e-mail address, but that {EMAIL_FAULT}"
        if text.translate(_CURLY).count('"') % 2:
            return "has a quotation mark without another one"
        if len(text.encode()) > KEY_BYTES_MAX:  # composed letters may take more than they did
            return f"must have at most {KEY_BYTES_MAX} bytes in UTF-8"
    return None


def path_recipient_fault(recipient_id: str) -> str | None:
    """The same for a recipient in a path, decoded. Nobody can tell whether the path was decoded before, so what a
    second decoding would change cannot be taken from a path (docs/api.md).

    Some clients decode a `+` to a blank. A number after a blank may then be a customer number or somebody's phone
    number in another country, and nobody can tell that either.
    """
    if unquote(recipient_id) != recipient_id:
        return "has a percent sign before two hexadecimal digits, which does not survive a path: import it from a file"
    if re.match(r"\s[1-9][0-9 ().-]{6}", recipient_id) and _as_address(cleaned(recipient_id)) is None:
        return "begins with a blank and a number: write + as %2B, or leave the blank out"
    return recipient_fault(re.sub("(?<=[0-9][Ee]) (?=[0-9]+$)", "+", recipient_id))  # 8.21012E+11, decoded


_WITHOUT_ITS_ZERO = re.compile("(?:10[-. /_~]?[0-9]{4}|1[16-9][-. /_~]?[0-9]{3,4})[-. /_~]?[0-9]{4}")
_WITHOUT_ITS_PLUS = re.compile(r"1[- .]?\(?[2-9][0-9]{2}\)?[- .]?[2-9][0-9]{2}[- .]?[0-9]{4}|82[1-7][0-9]{7,9}")
"""Of North America and of Korea. Numbers of other countries look like any customer number."""


def lacks_its_beginning(recipient_id: str) -> bool:
    """True if a recipient may be a phone number whose 0 or + a spreadsheet has dropped: `1012345678`, `14155550100`. It
    counts as a customer number."""
    return any(each.fullmatch(recipient_id) for each in (_WITHOUT_ITS_ZERO, _WITHOUT_ITS_PLUS))


_APOSTROPHES = "\u0060\u00b4\u02b9\u02bb\u02bc\u02c8\u2018\u2019\u201a\u201b\u2032\u2035"
"""The other characters that stand for an apostrophe, which keeps a value as text in a spreadsheet."""

_CURLY = dict.fromkeys((0x201C, 0x201D), '"')

_MADE_BY_A_SPREADSHEET = re.compile(
    r"[+-]?[0-9]{1,3}(?:[.,][0-9]*E[+-]|E\+|[.,][0-9]+E)[0-9]{1,3}"  # 8.21012E+11: most digits are lost
    r"|[+-]?[0-9]{1,3}(?:,[0-9]{3}){2,}(?:\.[0-9]+)?"  # 1,012,345,678
    rf"|'.*|=[\"'(+0-9].*|[{_APOSTROPHES}]+(?:[=+(0-9].*|[^@]+@[^@]+)"  # marks that keep a value as text, and formulas
    r"|#(?:N/A|REF!|NAME\?|VALUE!|NUM!|NULL!|DIV/0!|#+)",
    re.IGNORECASE | re.DOTALL,
)

_LIKE_AN_EMAIL = re.compile(
    r"mailto:|[^@]*<[^@]*@|[^@]+@[^@]*[\s,;<>?]|[^@]+@[^@]*@"
    r"|[^@]*\s[^@]*@[^@]*\."  # a blank may be a `+` that a client has decoded
    r"|[^@]+@[^@/:]*\.[^@/:.]+\.?\Z",
    re.IGNORECASE,
)
"""The beginnings of an e-mail address. The last one is any `name@host.tld`: no channel can send to a quoted name, to
letters outside ASCII before the at sign, or to a domain that IDNA 2008 does not know."""

_SCHEME = re.compile(r"(?:tel|sms|smsto|callto|whatsapp|mailto):(?://)?", re.IGNORECASE)

_NAMED = re.compile("[^<>@]*<([^<>]*)>")
"""`Kim <kim@example.com>`, as address books write it."""


def _as_address(text: str) -> str | None:
    """The canonical form of a cleaned text that reads as an address, None where it does not."""
    if "@" in text:  # also `#kim@example.com`, which is nobody's channel
        form = _email
    elif text.startswith("#"):
        form = _slack
    elif text[:1] in "+(0123456789" or not text.isascii() or _SCHEME.match(text) or _NAMED.fullmatch(text):
        form = _phone
    else:
        return None
    try:
        return form(text)
    except ValueError:
        return None


def _bare(address: str) -> str:
    """An address without the name before it, and without the scheme of a link."""
    address = cleaned(address)
    if named := _NAMED.fullmatch(address):
        address = cleaned(named[1])
    if scheme := _SCHEME.match(address):
        address = cleaned(address[scheme.end() :])
    return address


def _phone(address: str) -> str:
    if is_e164(address):
        return address
    if number := e164(address) or e164(bare := _bare(address)):
        return number
    raise ValueError(SPREADSHEET_FAULT if _MADE_BY_A_SPREADSHEET.fullmatch(bare) else PHONE_FAULT)


# Only ASCII: SES does not support SMTPUTF8 (RFC 6531), and no other channel carries e-mail.
# https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Destination.html
_LOCAL_PART = re.compile(r"(?!['=])[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
"""An apostrophe or an equals sign at the beginning: it comes from a spreadsheet."""

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")


def _email(address: str) -> str:
    local, at, domain = _bare(address).rpartition("@")
    domain = _ascii_domain(domain.removesuffix("."))
    if not (
        at and len(local) <= 64 and len(domain) <= 253 and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain)
    ):
        raise ValueError(SPREADSHEET_FAULT if _MADE_BY_A_SPREADSHEET.fullmatch(address) else EMAIL_FAULT)
    return f"{local.lower()}@{domain}"


def _ascii_domain(domain: str) -> str:
    """A domain as the name system has it. Raises `ValueError`."""
    if domain.isascii():
        return domain.lower()
    import idna  # few domains need its tables, which take longer to load than everything else here

    try:
        return idna.encode(domain, uts46=True).decode()
    except UnicodeError:
        raise ValueError(EMAIL_FAULT) from None


def _slack(address: str) -> str:
    address = cleaned(address)
    if re.fullmatch(r"#[\w.-]{1,80}", channel := cleaned(address.lower())):
        return channel
    if re.fullmatch(r"[CDGUW][A-Z0-9]{2,20}", address):
        return address
    raise ValueError("must be a channel such as #orders or a Slack id such as C024BE91L")


_OPAQUE = re.compile(rf"[!-~]{{1,{RECIPIENT_CHARACTERS_MAX}}}")


def _opaque(address: str) -> str:
    address = address.strip()
    if _OPAQUE.fullmatch(address) and "://" not in address and cleaned(address):  # an empty key would look nobody up
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

_PLAIN_EMAIL = re.compile(
    r"(?=.{1,64}\Z)[a-z0-9]+(?:[._+-][a-z0-9]+)*@(?:[a-z0-9]+(?:-[a-z0-9]+)*\.)+[a-z0-9]+", re.ASCII
)


def usual_address(channel: str, address: str) -> str | None:
    """Return the canonical form of an address that is written as nearly all are, None where it is written otherwise.

    It saves time. What it returns is what `canonical_address` returns, and `recipient_fault` finds no fault in it.
    """
    match channel:
        case "webhook" | "push" | "log":
            return address if _NEVER_AN_ADDRESS.fullmatch(address) else None
        case "kakao" | "sms":
            return address if is_e164(address) else usual_e164(address)
        case "email":
            return address if _PLAIN_EMAIL.fullmatch(address) else None
    return None
