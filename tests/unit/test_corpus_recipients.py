"""The corpus of people: each way in which somebody is written, and the one key of their consent."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas import registrar
from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification.addresses import (
    EMAIL_FAULT,
    KEY_BYTES_MAX,
    PHONE_FAULT,
    RECIPIENT_CHARACTERS_MAX,
    SPREADSHEET_FAULT,
    canonical_address,
    canonical_recipient,
    lacks_its_beginning,
    path_recipient_fault,
    recipient_fault,
)
from lambdas.quiet_hours.notification.notification import CHANNELS, accept, consent_keys, recipient_of
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import read_consents
from operators.consent_csv import Row, WrongRow, read_rows
from tests.helpers.aws import NIGHT, dynamodb, notification, settings, sqs
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

MINSU = "+821012345678"
KIM = "kim@example.com"

ONE_PERSON: dict[str, list[str]] = {
    MINSU: [
        "01012345678",
        "010-1234-5678",
        "010.1234.5678",
        "010 1234 5678",
        "010\u00b71234\u00b75678",
        "010\u30fb1234\u30fb5678",  # katakana middle dot
        "(010) 1234-5678",
        "010-12345678",
        "+82 10-1234-5678",
        "+82 010-1234-5678",
        "+82 (0)10-1234-5678",
        "+82(0)1012345678",
        "(+82) 10-1234-5678",
        "(+82)10-1234-5678",
        "+ 82 10 1234 5678",
        "82-10-1234-5678",
        "82 (0)10 1234 5678",
        "821012345678",
        " 821012345678",  # a + that a client has decoded to a blank
        "8201012345678",
        "00821012345678",
        "0082 10 1234 5678",
        "0082-010-1234-5678",
        # blanks
        " 010-1234-5678",
        "010-1234-5678 ",
        "\u00a0010-1234-5678\u00a0",
        "010\u00a01234\u00a05678",
        "010\u20071234\u20075678",
        "\u3000010-1234-5678",
        "010-1234-5678\n",
        "010-1234-5678\r",
        "010-1234-5678\r\n",
        "\t010-1234-5678",
        # characters that nobody sees
        "\u202a010-1234-5678\u202c",
        "\u202d+821012345678\u202e",
        "\u2066010-1234-5678\u2069",
        "\u200b01012345678",
        "010\u200c1234\u200d5678",
        "\u200e010-1234-5678\u200f",
        "\ufeff010-1234-5678",
        "010\u20601234\u20605678",
        "010\u00ad1234\u00ad5678",
        "010-1234-5678\ufe0f",
        # dashes
        *(f"010{dash}1234{dash}5678" for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"),
        *(f"010{dash}1234{dash}5678" for dash in "\u02d7\u2043\u207b\u2500\u2501\u2796\u3161\u4e00\uff70\uffda"),
        # other separators, the same one throughout
        "010/1234/5678",
        "010_1234_5678",
        "010~1234~5678",
        "010 / 1234 / 5678",
        "010\uff0f1234\uff0f5678",
        "010\u22151234\u22155678",
        "010\uff3f1234\uff3f5678",
        "010\uff5e1234\uff5e5678",
        "010\u301c1234\u301c5678",
        "+82/10/1234/5678",
        "+82 10/1234/5678",
        "+82-010_1234_5678",
        "82_10_1234_5678",
        "tel:010/1234/5678",
        "Kim <010_1234_5678>",
        "010\u30fc1234\u30fc5678",  # the long vowel mark, which Japanese keyboards write for a hyphen
        # digits of other scripts and widths
        "\uff10\uff11\uff10\uff0d\uff11\uff12\uff13\uff14\uff0d\uff15\uff16\uff17\uff18",
        "\uff0b\uff18\uff12\uff11\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18",
        "\u0660\u0661\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668",  # Arabic-Indic
        "\u0966\u0967\u0966-\u0967\u0968\u0969\u096a-\u096b\u096c\u096d\u096e",  # Devanagari
        # what stands around it
        "tel:010-1234-5678",
        "TEL:+82-10-1234-5678",
        "tel://01012345678",
        "sms:+821012345678",
        "smsto:01012345678",
        "callto:+821012345678",
        "whatsapp:+821012345678",
        "Kim <010-1234-5678>",
        "<tel:010-1234-5678>",
        '"010-1234-5678"',
        "'010-1234-5678'",
        "\u201c010-1234-5678\u201d",
        "\u2018010-1234-5678\u2019",
        "010-1234-5678;",
        "010-1234-5678,",
        "; 010-1234-5678 ;",
        "010-1234-5678.",
        # a column of numbers, as some programs save it
        "+821012345678.0",
        "821012345678.0",
        "01012345678.0",
    ],
    KIM: [
        "kim@example.com",
        "Kim@Example.COM",
        " kim@example.com",
        "kim@example.com\n",
        "\u00a0kim@example.com\u2003",
        "\u200bkim@example.com",
        "\ufeffkim@example.com",
        "\u202akim@example.com\u202c",
        "k\u00adim@example.com",
        "\uff4b\uff49\uff4d\uff20example.com",
        "kim\uff20example\uff0ecom",
        "kim@example\u3002com",
        "mailto:kim@example.com",
        "MAILTO:Kim@example.com",
        "Kim <kim@example.com>",
        '"Kim, Minsu" <Kim@Example.com>',
        "\uae40\ubbfc\uc218 <kim@example.com>",
        "<kim@example.com>",
        "<mailto:kim@example.com>",
        "'kim@example.com'",
        '"kim@example.com"',
        "\u201ckim@example.com\u201d",
        "kim@example.com;",
        "kim@example.com,",
        "kim@example.com.",
    ],
    "kim@xn--fa-hia.de": ["kim@fa\u00df.de", "Kim@FA\u00df.DE", "kim@xn--fa-hia.de", "kim@XN--FA-HIA.de"],
    "kim@fass.de": ["kim@fass.de"],
    "kim@xn--nxasmm1c.com": ["kim@\u03b2\u03cc\u03bb\u03bf\u03c2.com"],  # a final sigma is a letter of its own too
    "kim@xn--bj0bj06e.example": ["kim@\ud55c\uae00.example", "kim@\u1112\u1161\u11ab\u1100\u1173\u11af.example"],
    "+8221234567": ["02/123/4567", "02_123_4567", "02~123~4567",
                    "02-123-4567", "(02) 123-4567", "(02)1234567", "82-2-123-4567", "+82 2 123 4567"],
    "+82212345678": ["02-1234-5678", "0212345678"],
    "+82311234567": ["031-123-4567", "+82 (0)31 123 4567", "0082 31 123 4567"],
    "+827012345678": ["070-1234-5678"],
    "+82801234567": ["080-123-4567"],
    "+825051234567": ["0505-123-4567"],
    "+8250512345678": ["0505-1234-5678"],
    "+82111234567": ["011-123-4567"],
    "+8215881234": ["+82 1588-1234", "+8215881234"],
    "+14155550100": ["+1 415.555.0100", "+1 (415) 555-0100", "+1-415-555-0100", "tel:+1-415-555-0100"],
    "+442079460958": ["+44 (0)20 7946 0958", "+44(0)2079460958", "+44 20 7946 0958", "(+44) (0)20 7946 0958"],
    "+390612345678": ["+39 06 1234 5678"],
    "user-42": ["user-42", " user-42", "user-42 ", "user-42\n", "\u00a0user-42", "\ufeffuser-42", "user\u201342",
                "\uff55ser-42", '"user-42"', "user-42;", "user\u200b-42"],
    "User-42": ["User-42"],
    "\ud68c\uc6d0 42": ["\ud68c\uc6d0 42", "\ud68c\uc6d0\u00a042", "\u1112\u116c\u110b\u116f\u11ab 42"],
    "1012345678": ["1012345678", "1012345678 ", "1012345678.0"],  # a customer number; --check warns of it
    "14155550100": ["14155550100"],
    "#orders": ["#orders", "#Orders", "\uff03orders"],
    "sms:optin": ["sms:optin"],
    "#kim@example.com": ["#kim@example.com", "#Kim@Example.com", "\uff03kim@example.com", "mailto:#Kim@example.com"],
    "50%off@example.com": ["50%off@example.com", "50%Off@Example.com", "50\uff05off@example.com"],
    "100%": ["100%"],
    "cust-42": ["cust-42"],
    "user_17": ["user_17"],
    "_17": ["_17"],
    "A/17": ["A/17"],
    "t1": ["t1"],
    "T-42": ["T-42"],
    "no_17": ["no_17"],
    "user-01012345678": ["user-01012345678"],
    "T-01012345678": ["T-01012345678"],
    "C01012345678": ["C01012345678"],
    "hp_01012345678": ["hp_01012345678"],
    "\ud68c\uc6d0 0112345678": ["\ud68c\uc6d0 0112345678"],
    "order 0212345678": ["order 0212345678"],
    "no. 0212345678": ["no. 0212345678"],
    "0112345678-2": ["0112345678-2"],
    "user-010-1234-5678": ["user-010-1234-5678"],
    "shop/010-1234-5678": ["shop/010-1234-5678"],
    "member:01012345678": ["member:01012345678"],
    "01012345678-2": ["01012345678-2"],
    "2020-11-11/0042": ["2020-11-11/0042"],
    "02/17": ["02/17"],
    "0001_2345": ["0001_2345"],
    "10/1234/5678": ["10/1234/5678"],
    "1E5": ["1E5"],
    "12E34": ["12E34"],
    "1,5": ["1,5"],
    "\u2019s-Gravenhage": ["\u2019s-Gravenhage"],
    "01234567-89ab-cdef-0123-456789abcdef": ["01234567-89ab-cdef-0123-456789abcdef"],
    "order 42": ["order 42"],
    "\uae40\ubbfc\uc218 42": ["\uae40\ubbfc\uc218 42"],
    "@home": ["@home"],
    "1588-1234": ["1588-1234"],  # no address of its own: without +82 it is dialled in the country only
    "1.0": ["1.0"],
    'Kim "Max" 42': ['Kim "Max" 42'],
    "\u201cMax\u201d 42": ["\u201cMax\u201d 42"],
    "000123456789012": ["000123456789012"],
}  # fmt: skip
SAME = [(written, key) for key, all_written in ONE_PERSON.items() for written in all_written]


@pytest.mark.parametrize(("written", "key"), SAME, ids=lambda value: ascii(value))
def test_one_person_has_one_key(written: str, key: str) -> None:
    assert recipient_fault(written) is None
    assert canonical_recipient(written) == key
    assert canonical_recipient(key) == key
    named, _ = accept(notification(recipient_id=written), default_id="n", now=NIGHT)
    assert named["recipient_id"] == written, "it passes on as it was given"
    assert recipient_of(named) == key


@pytest.mark.parametrize(("written", "key"), SAME, ids=lambda value: ascii(value))
def test_an_address_of_a_channel_is_the_key_of_its_person(written: str, key: str) -> None:
    if key.startswith("+"):
        if canonical_address("sms", key) == key:
            assert canonical_address("sms", written) == canonical_address("kakao", written) == key
    elif "@" in key[1:]:
        assert canonical_address("email", written) == key
    elif key.startswith("#"):
        assert canonical_address("slack", written) == key


REFUSED: dict[str, list[str]] = {
    SPREADSHEET_FAULT: [
        "8.21012E+11",
        "8,21012E+11",
        "8.21012e+11",
        "1E+12",
        "1.00E+12",
        "'01012345678",
        "'+821012345678",
        "'kim@example.com",
        '="01012345678"',
        "=+821012345678",
        "=(82)10",
        "#N/A",
        "#NAME?",
        "#########",
        "\u200b8.21012E+11",
        " '01012345678",
        "8.21E11",
        "8,21E11",
        "8.21e11",
        "+8.21E+11",
        "82.1E+10",
        "1.0E-5",
        "821,012,345,678",
        "1,012,345,678",
        "1,012,345,678.00",
        *(f"{mark}01012345678" for mark in "\u2019\u2018\u201b\u02bc\u2032\u00b4`"),
        "\u2019010-1234-5678",
        "\u2019+821012345678",
        "\u2019kim@example.com",
        "\uff07010-1234-5678",
    ],
    f"reads as a phone number, but a phone number {PHONE_FAULT}": [
        "010-1234-56789",
        "010-1234-567",
        "010-1234-5678 x123",
        "010-1234-5678 \ub0b4\uc120 12",
        "010-1234-5678, 010-9876-5432",
        "010-1234-5678/9",
        "010-1234-5678~9",
        "02-123-4567.0",
        "02-123-45678",
        "03-1234-5678",  # of another country: together the digits are 031-234-5678
        "(03) 1234-5678",
        "+82 3-1234-5678",
        "+82 (0)3-1234-5678",
        "04 1234 5678",
        "06.1234.5678",
        "+82 10-1234-567",
        "+82101234567890",
        "+1 415 555 010",
        "+39 (0)6 1234 5678",
        "+0101234567",
        "tel:1234",
        "tel:+82-10-1234-5678;ext=5",
        "whatsapp:+82 10 1234 567",
        # a word beside it
        "T 010-1234-5678",
        "T. 010-1234-5678",
        "T:010-1234-5678",
        "T.010-1234-5678",
        "Tel 010-1234-5678",
        "Tel.02-123-4567",
        "HP: 01012345678",
        "H.P 010 1234 5678",
        "M) 010-1234-5678",
        "phone=010-1234-5678",
        "\uc804\ud654 010-1234-5678",
        "\ud734\ub300\ud3f0:010-1234-5678",
        "\ud578\ub4dc\ud3f001012345678",
        "\uc804\ud654\ubc88\ud638010-1234-5678",
        "\u260e010-1234-5678",
        "\U0001f4de 02-123-4567",
        "Kim 010-1234-5678",
        "Kim 01012345678",
        "Kim(010-1234-5678)",
        "01012345678 Kim",
        "01012345678\ub2d8",
        "01012345678/1",
        "+14155550100 Kim",
        "Kim +1 415 555 0100",
        "Kim +82 10 1234 5678",
        # a mark beside it
        '"010-1234-5678',
        '010-1234-5678"',
        "010-1234-5678\u2019",
        "*010-1234-5678",
        "_010-1234-5678",
        "-010-1234-5678",
        "/01012345678",
        # other separators
        "010:1234:5678",
        "010,1234,5678",
        "010|1234|5678",
        "010*1234*5678",
        "010=1234=5678",
        "010\\1234\\5678",
        "010/1234-5678",
        "010_1234_5678_9",
        "010/1234/5678/9",
        "010~1234~56789",
        "010/1234/567",
        "T 010-1234-56789",
        "02/123/4567/8",
        "+1/415/555/0100",
        "+49 30/123456",
        "+44_20_7946_0958",
        # digits of other scripts
        "\u0660\u0661\u0660-\u0661\u0662\u0663\u0664-\u0665\u0666\u0667\u0668\u0669",
        "010\u31611234\u316156789",
    ],
    f"reads as an e-mail address, but that {EMAIL_FAULT}": [
        "kim@example.com lee@example.com",
        "kim@example.com,lee@example.com",
        "Kim <kim@example.com>, Lee <lee@example.com>",
        "lee@example.com <kim@example.com>",
        "kim@@example.com",
        "mailto:kim",
        "mailto:kim@example.com?subject=hi",
        "<kim@example.com",
        '"kim"@example.com',
        '"Kim Lee"@example.com',
        "\ud55c\uae00@example.com",
        "j\u00fcrgen@example.com",
        "kim@\u2603.net",
        "kim@\U0001f600.example",
        "kim@example..com",
        ".kim@example.com",
        "kim.@example.com",
        "kim@-example.com",
        "kim@exam_ple.com",
        "kim(at)home@example.com",
        "#kim@@example.com",
        "#\ud55c\uae00@example.com",
    ],
    "must have 1 to 512 characters": ["x" * 513, "-" * 513, "\ud55c" * 513],
    f"must have at most {KEY_BYTES_MAX} bytes in UTF-8": ["\U0001d160" * 171],  # composed, each takes twelve bytes
    "must be more than blanks": ["\n", " ", "\u00a0", "\u200b", "\ufeff", "\u3164", '""', ";", "\r\n"],
    "has U+FFFD, which stands for bytes that were not UTF-8": ["user\ufffd42"],
    "has a quotation mark without another one": ['user-42"', '"user-42', 'us"er-42', "user-42\u201d",
                                                 "\u201cuser-42", '\ud68c\uc6d0 42"', '"', '"user-42" "'],
}  # fmt: skip
WRONG = [(written, fault) for fault, all_written in REFUSED.items() for written in all_written]


@pytest.mark.parametrize(("written", "fault"), WRONG, ids=lambda value: ascii(value)[:60])
def test_what_would_be_a_key_that_nobody_looks_up_is_refused_by_name(written: str, fault: str) -> None:
    assert recipient_fault(written) == fault
    with pytest.raises(Invalid) as invalid:
        accept(notification(recipient_id=written), default_id="n", now=NIGHT)
    assert invalid.value.errors == [f"recipient_id: {fault}"]


@pytest.mark.parametrize("channel", ["push", "webhook", "log"])
def test_an_address_that_can_be_no_key_needs_a_recipient_id(channel: str) -> None:
    candidate = notification(channel=channel, address="8.21012E+11")
    with pytest.raises(Invalid) as invalid:
        accept(candidate, default_id="n", now=NIGHT)
    assert invalid.value.errors == [f"address: {SPREADSHEET_FAULT}; give a recipient_id"]
    assert accept(candidate | {"recipient_id": "user-42"}, default_id="n", now=NIGHT)[0]["address"] == "8.21012E+11"


NO_NUMBER = (
    "010-1234-56789 010-1234-567 02-123-4567.0 02-123-4567/8 02-123-45678 1588-1234 +82101234567890 +1415555010"
    " 0014155550100 010-1234-567a 010,1234,5678 1012345678 10-1234-5678 +39(0)612345678 010-1234-5678x1"
    " 03-1234-5678 (06)1234-5678 +82-3-1234-5678"
)


@pytest.mark.parametrize("written", NO_NUMBER.split())
def test_no_other_number_is_made_of_what_is_none(written: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(PHONE_FAULT)}$"):
        canonical_address("sms", written)


@pytest.mark.parametrize("written", ["8.21012E+11", "'01012345678", '="01012345678"'])
def test_what_a_spreadsheet_has_made_of_a_number_is_refused_with_the_fix(written: str) -> None:
    with pytest.raises(ValueError, match="format the column as text"):
        canonical_address("sms", written)


@pytest.mark.parametrize("domain", ["\U0001f600.example", "\u2010a.example", "xn--\u00df.example", "a..example"])
def test_a_domain_that_idna_2008_does_not_know_is_refused(domain: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(EMAIL_FAULT)}$"):
        canonical_address("email", f"kim@{domain}")


@pytest.mark.parametrize("written", ["kim@localhost", "kim@example.com/phone", "kim@example.com:42", "kim@", "@kim.x"])
def test_an_at_sign_alone_makes_no_e_mail_address(written: str) -> None:
    assert recipient_fault(written) is None
    assert canonical_recipient(written) == written
    with pytest.raises(ValueError, match=f"^{re.escape(EMAIL_FAULT)}$"):
        canonical_address("email", written)


@pytest.mark.parametrize(
    ("recipient", "lacks"),
    [
        ("1012345678", True),
        ("10-1234-5678", True),
        ("10.1234.5678", True),
        ("10 1234 5678", True),
        ("10/1234/5678", True),
        ("10_1234_5678", True),
        ("11-234-5678", True),
        ("10-12345-678", False),
        ("111234567", True),
        ("01012345678", False),
        ("+821012345678", False),
        ("2012345678", False),
        ("101234567", False),
        ("10123456789", False),
        ("user-1012345678", False),
        ("14155550100", True),  # Excel takes the + away
        ("1 415 555 0100", True),
        ("1-415-555-0100", True),
        ("1 (415) 555-0100", True),
        ("11155550100", False),
        ("141555501000", False),
        ("8221234567", True),
        ("82311234567", True),
        ("825051234567", True),
        ("8201234567", False),
        ("82123", False),
    ],
)
def test_a_number_without_its_zero_or_plus_is_noticed(recipient: str, lacks: bool) -> None:
    assert lacks_its_beginning(recipient) is lacks


@pytest.mark.parametrize("written", [" 14155550100", " 4711471", " 1 415 555 0100"])
def test_a_number_after_a_blank_in_a_path_is_refused_since_a_plus_may_be_lost(written: str) -> None:
    assert path_recipient_fault(written) == "begins with a blank and a number: write + as %2B, or leave the blank out"
    assert path_recipient_fault(written.strip()) is None


@pytest.mark.parametrize("written", ["8.21012E 11", "8,21012e 11", "1E 12", "+8.21E 11"])
def test_what_a_spreadsheet_has_made_is_refused_in_a_path_that_lost_its_plus(written: str) -> None:
    assert path_recipient_fault(written) == SPREADSHEET_FAULT
    assert recipient_fault(written) is None


@pytest.mark.parametrize("written", [" user-42", " 42", "Block 1E 12", "E 12", " 821012345678", " 010-1234-5678"])
def test_another_blank_in_a_path_is_left_out(written: str) -> None:
    assert path_recipient_fault(written) is None


@pytest.mark.parametrize("written", ["100%", "50%off@example.com", "%", "a%zz", "%4", "\uff0541", "100\uff05"])
def test_a_percent_sign_that_a_second_decoding_leaves_alone_may_stand_in_a_path(written: str) -> None:
    assert path_recipient_fault(written) is None


@pytest.mark.parametrize("written", ["%41", "a%2Fb", "kim%40example.com", "100%25", "%ff", "%e2%98%83"])
def test_a_percent_sign_that_a_second_decoding_would_change_is_refused_in_a_path_alone(written: str) -> None:
    fault = "has a percent sign before two hexadecimal digits, which does not survive a path: import it from a file"
    assert path_recipient_fault(written) == fault
    assert recipient_fault(written) is None


# --- everywhere alike


def csv_row(recipient: str) -> Row | WrongRow:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("recipient_id", "night_consent", "opted_out", "changed_at", "evidence"))
    writer.writerow((recipient, "false", "true", "2020-11-01T00:00:00+09:00", "080 number"))
    (row,) = read_rows(io.BytesIO(text.getvalue().encode()), NIGHT)
    return row


ANYWHERE = [(written, key) for written, key in SAME if "\r" not in written]


@pytest.mark.parametrize(("written", "key"), ANYWHERE, ids=lambda value: ascii(value))
def test_a_row_of_a_file_is_about_the_same_person(written: str, key: str) -> None:
    row = csv_row(written)
    assert isinstance(row, Row)
    assert row.recipient_id == key


@pytest.mark.parametrize(("written", "fault"), WRONG, ids=lambda value: ascii(value)[:60])
def test_a_row_about_nobody_is_listed_as_wrong(written: str, fault: str) -> None:
    row = csv_row(written)
    assert isinstance(row, WrongRow)
    assert row.errors == (f"recipient_id: {fault}",)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, dynamodb: Any, settings: Settings) -> Any:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(registrar, "_client", lambda: dynamodb)
    return lambda method, path, body=None: answered(
        registrar.handler(http(method, path, None if body is None else json.dumps(body)), None)
    )


OUT = {"night_consent": False, "opted_out": True, "evidence": "080 number"}


@pytest.mark.parametrize(
    ("written", "channel", "address"),
    [
        ("010-1234-5678", "webhook", "010-1234-5678"),
        ("010-1234-5678", "log", "+821012345678"),
        ("+82 10 1234 5678", "webhook", "01012345678"),
        ("Kim@Example.com", "webhook", "Kim@Example.com"),
        ("kim@example.com", "log", "KIM@example.com"),
        ("Kim <kim@example.com>", "webhook", "mailto:kim@example.com"),
        ("#Orders", "slack", "#ORDERS"),
        ("shop/Orders", "webhook", "shop/Orders"),
    ],
)
def test_an_opt_out_by_an_address_is_found_for_what_goes_to_that_address(
    ask: Any, dynamodb: Any, written: str, channel: str, address: str
) -> None:
    assert ask("PUT", f"/consents/{quote(written, safe='')}", OUT)[0] == 200
    accepted, _ = accept(notification(channel=channel, address=address), default_id="n", now=NIGHT)
    assert accepted["address"] == (address.lower() if channel == "slack" else address), "it passes on unchanged"
    key = recipient_of(accepted)
    assert read_consents(dynamodb, "consent", [key], NIGHT)[key].opted_out


LONGEST = {
    "push": "tok%:" + "Aa-_9" * 101 + "Zz",
    "email": "k%" + "x" * 62 + "@" + ".".join(["a" * 63] * 3 + ["b" * 61]),
    "webhook": "shop/100%/" + "x" * 502,
    "slack": "#" + "\uac00" * 80,
    "sms": "+441234567890123",
    "log": "%" * RECIPIENT_CHARACTERS_MAX,
}


@pytest.mark.parametrize("as_it_comes", [quote, str])
@pytest.mark.parametrize("channel", LONGEST)
def test_whoever_can_be_sent_to_can_opt_out(ask: Any, dynamodb: Any, channel: str, as_it_comes: Any) -> None:
    address = LONGEST[channel]
    addressed, _ = accept(notification(channel=channel, address=address), default_id="n", now=NIGHT)
    named, _ = accept(notification(recipient_id=address), default_id="n", now=NIGHT)
    key = recipient_of(addressed)
    assert recipient_of(named) == key
    status, answer = ask("PUT", f"/consents/{as_it_comes(address)}", OUT | {"addresses": [address]})
    assert (status, answer["recipient_id"], answer["addresses"]) == (200, key, [key])
    assert read_consents(dynamodb, "consent", [key], NIGHT)[key].opted_out
    row = csv_row(address)
    assert isinstance(row, Row)
    assert row.recipient_id == key


def test_a_longer_address_than_any_recipient_can_be_sent_to_by_no_channel() -> None:
    for channel in CHANNELS:
        with pytest.raises(Invalid):
            accept(notification(channel=channel, address="x" * 513, recipient_id="u"), default_id="n", now=NIGHT)


@pytest.mark.parametrize("letter", ["x", "\ud55c", "\U0001f600"])
def test_the_longest_recipient_makes_a_key_that_dynamodb_takes(ask: Any, letter: str) -> None:
    longest = letter * RECIPIENT_CHARACTERS_MAX
    assert len(longest.encode()) <= KEY_BYTES_MAX
    assert ask("PUT", f"/consents/{quote(longest)}", OUT)[0] == 200


def test_a_path_that_is_not_utf_8_is_refused(ask: Any) -> None:
    status, answer = ask("PUT", "/consents/user-%ff", OUT)
    assert (status, answer) == (
        400,
        {"errors": ["recipient_id: has U+FFFD, which stands for bytes that were not UTF-8"]},
    )


def test_a_path_may_hold_what_a_file_may(ask: Any) -> None:
    for written in ("%20user-42", "user-42%20", "user-42%0A", "user-42%0D%0A", "%C2%A0user-42", "%EF%BB%BFuser-42"):
        assert ask("PUT", f"/consents/{written}", OUT)[1]["recipient_id"] == "user-42"
    assert ask("PUT", "/consents/%20821012345678", OUT)[1]["recipient_id"] == MINSU
    assert ask("PUT", "/consents/%2014155550100", OUT)[0] == 400


people = st.one_of(
    st.text(max_size=25),
    st.text(st.sampled_from("0189+-(). \u00a0\u200b\u2013\uff10\u0660@#'\"<>;:=E/_~,%T\u2019\u3161"), max_size=18),
    st.builds(
        lambda before, written, after: before + written + after,
        st.sampled_from(
            [
                *("", " ", "tel:", "mailto:", "Kim <", "'", '"', "\ufeff", ";", "=", "sms:", "<", "82", "+82"),
                *("T ", "\u2019", "#", "%", "_", "Kim ", "\u260e", "+82/", "1,"),
            ]
        ),
        st.sampled_from([written for written, _ in SAME + WRONG]),
        st.sampled_from(
            [
                *("", " ", ">", "'", '"', ";", ".", ".0", "\n", "\u200f", "x1", ", "),
                *("%", "%41", "_9", "/1", "~9", "E11", "x" * 500),
            ]
        ),
    ),
)


@examples(deadline=None, max_examples=300)
@given(people)
@example("tel:tel:010-1234-5678")
@example("''\"kim@example.com\"''")
@example("#\u0130stanbul")
@example("010-1234-5678.0.0")
@example("\u0958\u037e")
@example("#Kim@Example.com")
@example("\U0001d160" * 170)
@example("\U0001d160" * 171)
@example("%41" * 170)
def test_registrar_and_worker_make_the_same_key_of_any_text_and_it_is_its_own_key(text: str) -> None:
    key = canonical_recipient(text)
    assert canonical_recipient(key) == key
    if recipient_fault(text):
        return
    assert recipient_fault(key) is None
    named, _ = accept(notification(recipient_id=text), default_id="n", now=NIGHT)
    assert recipient_of(named) == key
    if "\r" not in text:  # csv.writer quotes it, and then it is a line break
        row = csv_row(text)
        assert isinstance(row, Row)
        assert row.recipient_id == key
    for channel in CHANNELS:
        try:
            addressed, _ = accept(notification(channel=channel, address=text), default_id="n", now=NIGHT)
        except Invalid:
            continue
        assert recipient_of(addressed) == key
        assert recipient_fault(recipient_of(addressed)) is None, "whoever can be sent to can opt out"


@pytest.mark.parametrize("address", [";", ",", '""', "''", '";"', "-", "#"])
@pytest.mark.parametrize("channel", ["webhook", "push", "log"])
def test_an_address_never_makes_an_empty_key(channel: str, address: str) -> None:
    """DynamoDB refuses a whole batch of keys for one that is empty, so the neighbours would wait for ever."""
    given = {"channel": channel, "address": address, "recipient_id": "u", "content": {"body": "x"}}
    with suppress(Invalid):
        assert all(consent_keys(accept(given, default_id="n", now=NIGHT)[0]))


@pytest.mark.parametrize("address", [";", ",", '""', '";"'])
def test_an_address_without_anything_in_it_is_refused(address: str) -> None:
    given = {"channel": "webhook", "address": address, "recipient_id": "u", "content": {"body": "x"}}
    with pytest.raises(Invalid, match=r"^address: must have 1 to 512"):
        accept(given, default_id="n", now=NIGHT)


@pytest.mark.parametrize("recipient", ["kim tag@example.com", "k im@example.com", "kim @example.com"])
def test_a_blank_before_the_at_sign_may_be_a_plus_that_was_decoded(recipient: str) -> None:
    assert recipient_fault(recipient) is not None
