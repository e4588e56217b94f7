"""Phone numbers: every usual way of writing one, and E.164 as the one form.

Korean numbers are checked by the lengths of the national plan, so that one digit too many or too few does not make
another number that looks right.
"""

from __future__ import annotations

import re
import unicodedata

_NATIONAL = (
    "10[0-9]{8}"  # mobile
    "|1[1-9][0-9]{7,8}"  # mobile, the older prefixes
    "|1[568][0-9]{6}"  # nationwide, such as 1588-1234
    "|2[0-9]{7,8}|[3-6][1-9][0-9]{7,8}"  # Seoul, the other regions
    "|30[0-9]{7,9}|50[0-9]{8,9}|[68]0[0-9]{7,8}|70[0-9]{8}"  # fax, personal, premium and free, internet
)

_E164 = re.compile(rf"\+(?:82(?:{_NATIONAL})|1[2-9][0-9]{{9}}|(?!82|1)[1-9][0-9]{{6,14}})")

_KOREAN = re.compile(rf"(?:(?:\+|00)820?|0)({_NATIONAL})")
_KOREAN_MOBILE = re.compile(r"820?(10[0-9]{8})")
"""A `+` that a client has decoded to a blank leaves this. Other numbers that begin with 82 may be anything."""
_KOREAN_SPACED = re.compile(rf"820?({_NATIONAL})")
_SPACED_COUNTRY = re.compile(r"\(?82[) .\u00b7-]")

_USUAL = re.compile("0(10)-?([0-9]{4})-?([0-9]{4})")
"""A mobile number as nearly every Korean writes it."""

_WRITTEN = re.compile(r"\(?(?:\+ ?)?\(?[0-9][0-9 ().\u00b7-]*")
_FOREIGN_AREA = re.compile(r"\(?(?:(?:\+ ?|00)?82[) .\u00b7-]+(?:\(?0?\)? ?)?|0)\(?[13-9][) .\u00b7-]")
"""An area of one digit. In Korea only Seoul has one, 2. The digits of `03-1234-5678` would be those of 031-234-5678."""
_TRUNK_ZERO = re.compile(r"(\(?\+ ?(?!39|378)[1-9][0-9]{0,2}\)?[ .-]?)\(0\)")
"""The `(0)` of `+44 (0)20 …` is dialled inside the country only. Italy's zero is part of the number."""

_ALSO_WRITTEN = {
    **dict.fromkeys((0x02D7, 0x2043, 0x207B, 0x2500, 0x2501, 0x2796, 0x30FC, 0x3161, 0x4E00, 0xFF70, 0xFFDA), "-"),
    **dict.fromkeys((0x2022, 0x2027, 0x2219, 0x30FB, 0xFF65), "\u00b7"),
    **dict.fromkeys((0x2044, 0x2215), "/"),
    **dict.fromkeys((0x223C, 0x301C), "~"),
}
"""The separators that other keyboards write, such as the Hangul letter that looks like a dash."""

_GROUPED = re.compile(r"(?:\(?\+?82\)?[ /_~-]{0,3})?0?[0-9]{1,3}( ?[/_~] ?)[0-9]{3,4}\1[0-9]{4}")
"""Three groups with one of the separators that elsewhere stand for an extension or a range: `010/1234/5678`."""

_BEGINS_A_NUMBER = re.compile(
    r"(?:tel|sms|smsto|callto|whatsapp):[/ ]*\(?\+?[0-9][0-9 ().-]{6}"
    r"|tel:"
    r"|\(?\+ ?[0-9(][0-9\W_]{6}"
    r"|\(?01[016-9][ ).\u00b7-]+[0-9]"
    r"|\(?0[0-9]{1,3}[ ).\u00b7-]+[0-9]{3,4}[ .\u00b7-]+[0-9]{4}",
    re.IGNORECASE,
)
"""The beginning of a number, whatever comes after it."""

_ANY = r"[\W_]{1,4}"
_WORD = (
    r"(?:(?:t|tel|telephone|phone|p|m|mob|mobile|c|cell|h[./]?p|fax|f|no)[ .:)=]{1,3}"
    r"|(?:번호|전화(?:번호)?|휴대(?:폰|전화)(?:번호)?|핸드폰|연락처|폰)[\W_]{0,4})"
)
"""Words that people write before a number. `T-01012345678` and `hp_01012345678` are ids: a program has made them."""

_CONTAINS_A_NUMBER = re.compile(
    rf"(?:^{_WORD}?[\W_]{{0,4}}|(?<![\w/:.@#=-]))(?:"
    rf"(?:\(?\+?82\)?{_ANY}\(?0?|\(?0)"  # in groups
    rf"(?:1[016-9]{_ANY}[0-9]{{3}}[0-9]*{_ANY}[0-9]{{3}}"
    rf"|(?:2|[3-6][1-9]|50[2-9]|70|80){_ANY}[0-9]{{3,4}}{_ANY}[0-9]{{4}}(?![0-9A-Za-z]))"
    r"|(?:\+?820?|0)10[0-9]{8}(?![0-9A-Za-z_-]|\.[0-9])"  # a mobile number in one piece
    r"|\+[1-9][0-9 ().-]{7})",  # an international one
    re.IGNORECASE,
)
"""A number with something else beside it, or between its groups. A number that is a part of a longer id is none:
`user-01012345678`, `shop/010-1234-5678`. Nor is a customer number with zeros before it: `회원 0112345678`."""


def is_e164(text: str) -> bool:
    """True if a number is in its one form already."""
    return _E164.fullmatch(text) is not None


def usual_e164(written: str) -> str | None:
    """The one form of a mobile number that is written as usual, None where it is written otherwise or is none."""
    usual = _USUAL.fullmatch(written)
    return "+82" + "".join(usual.groups()) if usual else None


def e164(written: str) -> str | None:
    """The one form of a cleaned number, None where it is none."""
    if usual := usual_e164(written):
        return usual
    written = _in_ascii(written).rstrip(".")
    if re.fullmatch(r"\+?[0-9]+\.0", written):  # a column of numbers, as some programs save it
        written = written[:-2]
    if _GROUPED.fullmatch(written):
        written = re.sub("[/_~]", "-", written)
    if not _WRITTEN.fullmatch(written):
        return None
    last_group = len(written) - len(written.rstrip("0123456789"))
    if national := _korean(written):
        # A Korean number ends in a group of four digits. Another length is a wrong digit, a range or an extension.
        return f"+82{national}" if last_group == 4 or last_group >= 7 else None
    number = _digits(_TRUNK_ZERO.sub(r"\1", written))
    is_foreign = number.startswith("+") and not number.startswith("+82") and last_group >= 2
    return number if is_foreign and _E164.fullmatch(number) and "(0)" not in _TRUNK_ZERO.sub("", written) else None


def reads_as_number(text: str) -> bool:
    """True if a cleaned text that `e164` does not take is meant as a phone number."""
    text = _in_ascii(text)
    return _BEGINS_A_NUMBER.match(text) is not None or _CONTAINS_A_NUMBER.search(text) is not None


def _in_ascii(written: str) -> str:
    """A number with the digits and the separators of ASCII."""
    if written.isascii():
        return written
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
        for letter in written.translate(_ALSO_WRITTEN)
    )


def _korean(written: str) -> str | None:
    number = _digits(written)
    if _FOREIGN_AREA.match(written):
        return None
    found = _KOREAN.fullmatch(number) or _KOREAN_MOBILE.fullmatch(number)
    if not found and _SPACED_COUNTRY.match(written):
        found = _KOREAN_SPACED.fullmatch(number)
    return found[1] if found else None


def _digits(written: str) -> str:
    return ("+" if "+" in written else "") + re.sub("[^0-9]", "", written)
