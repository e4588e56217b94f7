"""The one form that each address has, and whose consent counts."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.quiet_hours.notification.addresses import canonical_address, recipient_fault, usual_address
from lambdas.quiet_hours.notification.fields import is_id
from lambdas.quiet_hours.notification.notification import CHANNELS, recipient_of
from tests.helpers.accepting import PHONE_FAULT, accepted, errors
from tests.helpers.aws import notification

EMAIL_FAULT = "must be an e-mail address such as name@example.com"
SLACK_FAULT = "must be a channel such as #orders or a Slack id such as C024BE91L"
OPAQUE_FAULT = "must have 1 to 512 visible ASCII characters and not be a URL: targets come from configuration"


# --- addresses


@pytest.mark.parametrize(
    ("channel", "typed", "canonical"),
    [
        ("kakao", "01012345678", "+821012345678"),
        ("kakao", "010-1234-5678", "+821012345678"),
        ("sms", "0504-1234-5678", "+8250412345678"),
        ("sms", "+821012345678", "+821012345678"),
        ("sms", "+82 (0)10-1234-5678", "+821012345678"),
        ("sms", "+82 10 1234 5678", "+821012345678"),
        ("sms", " 010.1234.5678\n", "+821012345678"),
        ("sms", "010\u00a01234\u00a05678", "+821012345678"),
        ("sms", "011-123-4567", "+82111234567"),
        ("sms", "02-123-4567", "+8221234567"),
        ("sms", "(031) 123-4567", "+82311234567"),
        ("sms", "+1 (415) 555-0100", "+14155550100"),
        ("sms", "+44 20 7946 0000", "+442079460000"),
        ("email", "Name@Example.COM", "name@example.com"),
        ("email", " a.b+tag@mail.example.co.kr ", "a.b+tag@mail.example.co.kr"),
        ("email", "name@한글.example", "name@xn--bj0bj06e.example"),
        ("email", "name@BÜCHER.example", "name@xn--bcher-kva.example"),
        ("slack", "#Orders", "#orders"),
        ("slack", "#주문-알림", "#주문-알림"),
        ("slack", "C024BE91L", "C024BE91L"),
        ("slack", "U12", "U12"),
        ("push", " token:AbC_-9 ", "token:AbC_-9"),
        ("webhook", "shop/orders", "shop/orders"),
        ("log", "Anything-42", "Anything-42"),
    ],
)
def test_an_address_has_one_form(channel: str, typed: str, canonical: str) -> None:
    assert canonical_address(channel, typed) == canonical
    assert canonical_address(channel, canonical) == canonical


REFUSED = {
    PHONE_FAULT: (
        ("kakao", "sms"),
        "12345 1588-1234 +82 +8201 010-1234-567a +0101234567 ++821012345678 001-1-415-555-0100 010-1234-56789"
        " +1234567890123456 user@example.com",
    ),
    EMAIL_FAULT: (
        ("email",),
        "name @example.com name@ name@localhost a@b@example.com <a@example.com>,<b@example.com> name@example..com"
        " name@.example.com name@-a.com name@a-.com .a@example.com a..b@example.com 이름@example.com"
        f" {'a' * 65}@example.com a@{'b.' * 130}com a@{'b' * 64}.com",
    ),
    SLACK_FAULT: (("slack",), f"orders # c024be91l X024 U1 #{'a' * 81}"),
    OPAQUE_FAULT: (("push", "webhook", "log"), f"한글 https://169.254.169.254/ {'x' * 513}"),
}


@pytest.mark.parametrize(
    ("channel", "address", "fault"),
    [
        *(
            (channel, address, fault)
            for fault, (channels, wrong) in REFUSED.items()
            for channel in channels
            for address in wrong.split()
        ),
        ("sms", " ", PHONE_FAULT),
        ("email", "a b@example.com", EMAIL_FAULT),
        ("email", "name@example.com\nbcc:x@example.com", EMAIL_FAULT),
        ("slack", "# a", SLACK_FAULT),
        ("push", "  ", OPAQUE_FAULT),
        ("push", "a b", OPAQUE_FAULT),
        ("push", "a\nb", OPAQUE_FAULT),
    ],
)
def test_an_address_that_the_channel_cannot_use_is_refused_with_what_it_expects(
    channel: str, address: str, fault: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        canonical_address(channel, address)
    assert errors(notification(channel=channel, address=address)) == [f"address: {fault}"]


typed_addresses = st.one_of(
    st.tuples(st.just("sms"), st.from_regex(r"\A(\+82 ?\(?0?\)?|0)1[0-9]-?[0-9]{3,4}[ .-]?[0-9]{4}\Z")),
    st.tuples(st.just("email"), st.from_regex(r"\A[A-Za-z+_]{1,5}@(\w{1,5}[.。-]){1,3}\w{2,5}\Z")),
    st.tuples(st.just("slack"), st.from_regex(r"\A#[\w.-]{1,10}\Z")),
    st.tuples(st.sampled_from(CHANNELS), st.text(max_size=20)),
)


@examples(deadline=None, max_examples=200)
@given(typed_addresses)
def test_an_address_in_its_canonical_form_stays_as_it_is(typed: tuple[str, str]) -> None:
    channel, address = typed
    try:
        canonical = canonical_address(channel, address)
    except ValueError:
        return
    assert canonical_address(channel, canonical) == canonical


USUAL = [
    ("sms", "010-1234-5678", "+821012345678"),
    ("kakao", "01012345678", "+821012345678"),
    ("sms", "+14155550100", "+14155550100"),
    ("email", "kim.min+shop@mail.example.com", "kim.min+shop@mail.example.com"),
    ("webhook", "user-42", "user-42"),
    ("push", "_token_1", "_token_1"),
    ("log", "a" * 501, "a" * 501),
]


@pytest.mark.parametrize(("channel", "address", "canonical"), USUAL)
def test_an_address_that_is_written_as_usual_is_known_at_once(channel: str, address: str, canonical: str) -> None:
    assert usual_address(channel, address) == canonical


nearly_usual = st.tuples(
    st.sampled_from(CHANNELS),
    st.sampled_from([address for _, address, _ in USUAL] + ["a@b", "a@b.c", "1.5E+3", "8.21012E+11", "a" * 509])
    | st.from_regex(r"\A[a-z0-9'._+-]{1,70}@([a-z0-9-]{1,65}\.){1,3}[a-z0-9]{1,5}\Z")
    | st.from_regex(r"\A_?[A-Za-z0-9:/._ -]{1,30}\n?\Z"),
    st.text("a@.-_+'\"=0:\n ", max_size=2),
)


@examples(deadline=None, max_examples=200)
@given(nearly_usual)
def test_what_is_known_at_once_is_canonical_and_may_be_a_recipient(given_: tuple[str, str, str]) -> None:
    channel, address, more = given_
    for each in (address, address + more, more + address):
        if (usual := usual_address(channel, each)) is not None:
            assert canonical_address(channel, each) == usual
            assert recipient_fault(usual) is None


def test_a_capital_that_lower_case_cannot_say_in_one_letter_does_not_break_the_canonical_form() -> None:
    with pytest.raises(ValueError, match="must be a channel such as #orders"):
        canonical_address("slack", "#\u0130stanbul")


# --- who


def test_one_person_is_one_recipient_however_the_number_was_typed() -> None:
    typed = ("010-1234-5678", "+821012345678", "+82 (0)10-1234-5678", "01012345678")
    assert {
        recipient_of(accepted(channel=channel, address=each)) for each in typed for channel in ("kakao", "sms")
    } == {"+821012345678"}


def test_a_recipient_id_counts_before_the_address() -> None:
    assert recipient_of(accepted(recipient_id="user-42")) == "user-42"


@pytest.mark.parametrize("value", ["", "a b", "x" * 129, 1, None, ["a"], "a\n", b"a"])
def test_what_cannot_be_an_id_is_none(value: object) -> None:
    assert not is_id(value)
