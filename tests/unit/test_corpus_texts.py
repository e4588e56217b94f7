"""The corpus of texts: each way in which people and programs write a text, and the one in which it is taken."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.consents.statement import statement
from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.files.judging import judge
from lambdas.quiet_hours.files.rows import rows
from lambdas.quiet_hours.files.seen import Seen, SeenInFile
from lambdas.quiet_hours.notification import fields
from lambdas.quiet_hours.notification.bundle import read
from lambdas.quiet_hours.notification.cleaning import clean_json, clean_text
from lambdas.quiet_hours.notification.deployment import checks_content, content_faults
from lambdas.quiet_hours.notification.json_text import to_text, unpack
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.notification.sms_encoding import not_in_euc_kr
from lambdas.quiet_hours.rule.policies import named_policy, zone_warning
from lambdas.quiet_hours.settings import Settings
from tests.helpers.accepting import accepted, errors
from tests.helpers.aws import DAY, NIGHT, dynamodb, notification, record, settings, sqs, take, text_attributes

__all__ = ["dynamodb", "settings", "sqs"]

NO_NAMES = Settings("", "", "", "", "", "", "", "")
LABELLING = replace(NO_NAMES, advertising_label=True, sender_name="온결")
LABEL = "(\u1100\u116a\u11bc\u1100\u1169)"  # (광고), decomposed as macOS writes it
SALE, DECOMPOSED_SALE = (
    "(광고) 온결 세일",
    f"{LABEL} \u110b\u1169\u11ab\u1100\u1167\u11af \u1109\u1166\u110b\u1175\u11af",
)


# --- line breaks and composition

AS_READ = [
    ("a\nb", "a\nb"),
    ("a\r\nb", "a\nb"),
    ("a\rb", "a\nb"),
    ("a\r\n\r\nb\r", "a\n\nb\n"),
    ("a\n\rb", "a\n\nb"),
    ("\r\n", "\n"),
    (DECOMPOSED_SALE, SALE),
    ("e\u0301te\u0301", "\u00e9t\u00e9"),
    ("\u212b", "\u00c5"),  # the angstrom sign is one of two code points for one letter
    ("가을 세일 🍁", "가을 세일 🍁"),
    ("\u00a0 \u200b \uff01", "\u00a0 \u200b \uff01"),  # nothing but composed: what a text shows stays as it is
]


@pytest.mark.parametrize(("written", "as_read"), AS_READ, ids=lambda value: ascii(value))
@pytest.mark.parametrize("field", ["body", "title", "template"])
def test_a_text_is_composed_and_breaks_its_lines_in_one_way(field: str, written: str, as_read: str) -> None:
    content = {"body": "b", field: written}
    assert accepted(content=content)["content"] == {"body": "b", field: as_read}
    assert content[field] == written, "what was given is left alone"


@pytest.mark.parametrize(("written", "as_read"), AS_READ, ids=lambda value: ascii(value))
def test_variables_are_texts_too(written: str, as_read: str) -> None:
    variables = {written: written, "n": 1, "list": [written, None, {"in": written}]}
    assert accepted(content={"template": "t", "variables": variables})["content"]["variables"] == {
        as_read: as_read,
        "n": 1,
        "list": [as_read, None, {"in": as_read}],
    }


def test_two_names_that_are_one_when_composed_are_a_repeated_name() -> None:
    variables = {"\u00e9": 1, "e\u0301": 2}
    assert errors(notification(content={"template": "t", "variables": variables})) == [
        "content: variables names a field twice"
    ]


def test_what_is_no_text_of_ours_passes_on_untouched() -> None:
    metadata = {"note": "e\u0301\r\n", "e\u0301": ["\u212b"]}
    given = notification(
        id="n-1",
        channel="webhook",
        address="shop/A:b",
        recipient_id="caf\u0065\u0301",
        source="cafe\u0301",
        metadata=metadata,
    )
    result, _ = accept(given, default_id="unused", now=NIGHT)
    assert {name: result[name] for name in given} == given  # type: ignore[literal-required]


def test_a_source_is_one_line() -> None:
    for written in ("s\r", "s\r\n", "a\rb"):
        (fault,) = errors(notification(source=written))
        assert fault.startswith("source: has a character that cannot be sent")


@pytest.mark.parametrize("break_", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("title", ["a{}b", "{}a", "a{}"])
def test_a_title_of_an_e_mail_with_a_line_break_is_refused_at_acceptance(title: str, break_: str) -> None:
    """It is the subject. Accepted, it would be dead-lettered at the end of the night."""
    content = {"title": title.format(break_), "body": f"a{break_}b"}
    mail = notification(channel="email", address="kim@example.com", content=content)
    assert errors(mail) == ["content: title must be one line: it is an e-mail's subject"]
    assert errors(mail | {"source": 1})[0].startswith("source: ")
    assert len(errors(mail | {"source": 1})) == 2
    assert accepted(channel="slack", address="#orders", content=content)["content"]["body"] == "a\nb"
    assert accepted(channel="email", address="kim@example.com", content=content | {"title": "a"})
    for odd in (None, 1, "a\nb", {"title": 1}, {"title": ["\n"]}):
        assert errors(mail | {"content": odd})


def test_a_text_counts_by_what_it_is_when_composed() -> None:
    long = "\u1100\u1161" * 10_000
    assert accepted(content={"body": long})["content"]["body"] == "가" * 10_000
    assert errors(notification(content={"body": "\u0958" * 5_001})) == ["content: body must have 1 to 10000 characters"]


@pytest.mark.parametrize("depth", [5, 6, 7, 900])
def test_what_is_nested_too_deep_is_refused_whatever_it_holds(depth: int) -> None:
    nested: Any = "e\u0301"
    for _ in range(depth):
        nested = [nested]
    assert errors(notification(content={"template": "t", "variables": {"a": nested}})) == [
        "content: variables is nested more than 5 levels deep"
    ]


def test_the_same_text_comes_in_every_way() -> None:
    body = "a\r\n\u1100\u1161\rb"
    given = notification(id="n-1", channel="log", address="a", content={"body": body})
    queue = read(record(json.dumps(given)))[0]
    bundle = read(record(json.dumps([given])))[0]
    event = read(record(json.dumps({"detail-type": "NotificationRequested", "detail": given})))[0]
    line = io.BytesIO(json.dumps(given).encode() + b"\n")
    (row,), _ = rows("a.jsonl", line.read)
    from_file, _ = accept(row.candidate, default_id="unused", now=NIGHT)
    texts = {each.notification["content"]["body"] for each in queue + bundle + event}
    assert texts | {from_file["content"]["body"]} == {"a\n가\nb"}
    assert all(json.loads(each.text) == each.notification for each in queue + bundle + event)


@pytest.mark.parametrize(("written", "as_read"), AS_READ, ids=lambda value: ascii(value))
def test_evidence_is_a_text_too(written: str, as_read: str) -> None:
    said = {"night_consent": False, "opted_out": True, "evidence": written}
    assert statement(said, NIGHT).evidence == as_read


def test_the_label_is_found_however_its_letters_are_written() -> None:
    for sender, written in (("온결", DECOMPOSED_SALE), ("\u110b\u1169\u11ab\u1100\u1167\u11af", SALE)):
        given = notification(content={"body": f"{written} 무료수신거부 080-000-0000"})
        accepted_one, _ = accept(given, default_id="n", now=NIGHT)
        assert content_faults(accepted_one, replace(LABELLING, sender_name=sender)) == []
    unlabelled, _ = accept(notification(content={"body": "sale"}), default_id="n", now=NIGHT)
    assert len(content_faults(unlabelled, LABELLING)) == 3


texts = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("a\r\n\u0301\u1100\u1161\u11a8\u0958")


@examples(deadline=None, max_examples=150)
@given(st.recursive(texts | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=6))
def test_cleaning_is_done_once(value: Any) -> None:
    once = clean_json(value)
    assert clean_json(once) is once
    if isinstance(value, str):
        assert once == clean_text(value)
        assert "\r" not in once


# --- JSON


@pytest.mark.parametrize("bom", ["\ufeff", "\ufeff\ufeff", "\ufeff\n"])
@pytest.mark.parametrize("body", ['{"id":"a"}', '[{"id":"a"},{"id":"b"}]', ' [ {"id": "a"} ]', "[1]"])
def test_a_byte_order_mark_before_json_is_no_part_of_it(bom: str, body: str) -> None:
    assert unpack(bom + body) == unpack(body)


def test_a_byte_order_mark_inside_a_text_stays() -> None:
    ((value, text),), _ = unpack('{"a":"\ufeffb"}')
    assert (value, text) == ({"a": "\ufeffb"}, '{"a":"\ufeffb"}')


# --- SMS

SMS = {"channel": "sms", "address": "+821012345678", "category": "informational"}


def sms_faults(settings: Settings = NO_NAMES, **content: str) -> list[str]:
    made, _ = accept(notification(**SMS, content={"body": "b"} | content), default_id="n", now=NIGHT)
    return content_faults(made, settings)


@pytest.mark.parametrize(
    ("text", "code_point", "place"),
    [
        ("결제\u00a0완료", "U+00A0", 3),
        ("결제\u200b 완료", "U+200B", 3),
        ("\ufeff결제", "U+FEFF", 1),
        ("\u20a912,900", "U+20A9", 1),
        ("9:00\u201310:00", "U+2013", 5),
        ("\u2022 결제", "U+2022", 1),
        ("결제 🎉", "U+1F389", 4),
        ("❤\ufe0f", "U+2764", 1),
        ("canary 뷁", "U+BDC1", 8),
        ("한\u3164글", None, 0),  # the filler is a character of KS X 1001
        ("a\u2014b", "U+2014", 2),
        ("caf\u00e9", "U+00E9", 4),
        ("\u20ac5", None, 0),
        ("결제 완료\n\t감사합니다", None, 0),
        ("\uffe612,900", None, 0),  # the won sign that KS X 1001 has
        ("9:00~10:00 · ½ → ※ ① ㎏", None, 0),
        ("ascii only ^{}[]~|\\", None, 0),
        ("漢字", None, 0),
        ("\u2018따옴표\u2019 \u201c따옴표\u201d …", None, 0),
    ],
    ids=lambda value: ascii(value),
)
def test_a_character_that_an_sms_cannot_carry_is_named_at_acceptance(
    text: str, code_point: str | None, place: int
) -> None:
    fault = f"has {code_point} at character {place}, which an SMS cannot carry"
    assert sms_faults(body=text) == ([f"content: body {fault}"] if code_point else [])
    assert sms_faults(title=text) == ([f"content: title {fault}"] if code_point else [])
    assert sms_faults(replace(NO_NAMES, sms_encoding="unicode"), body=text) == []


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ({"template": "t-1"}, ["content: needs a body, because no SMS provider has templates"]),
        (
            {"template": "t-1", "title": "결제", "variables": {"이름": "•"}},
            ["content: needs a body, because no SMS provider has templates"],
        ),
        ({"body": "결제", "template": "•", "variables": {"•": "🎉"}}, []),  # an SMS shows title and body only
    ],
)
def test_an_sms_needs_a_text_of_its_own(content: dict[str, Any], faults: list[str]) -> None:
    made, _ = accept(notification(**SMS, content=content), default_id="n", now=NIGHT)
    assert content_faults(made, NO_NAMES) == faults
    assert content_faults({**made, "channel": "kakao"}, NO_NAMES) == []


def test_title_and_body_of_an_sms_are_both_named() -> None:
    assert [fault[:14] for fault in sms_faults(title="•", body="•")] == ["content: title", "content: body "]


def test_another_channel_carries_any_character() -> None:
    made, _ = accept(notification(content={"body": "• 🎉"}, category="informational"), default_id="n", now=NIGHT)
    assert content_faults(made, NO_NAMES) == []


def test_decomposed_hangul_is_no_obstacle_to_an_sms() -> None:
    assert sms_faults(body=DECOMPOSED_SALE) == []


def test_content_is_looked_at_where_anything_of_it_is_asked() -> None:
    unicode = replace(NO_NAMES, sms_encoding="unicode")
    assert checks_content(NO_NAMES)
    assert checks_content(replace(unicode, advertising_label=True))
    assert not checks_content(unicode)


@examples(deadline=None, max_examples=150)
@given(st.text(st.sampled_from("a가각갂뷁힣\u3164½•漢") | st.characters(codec="utf-8"), max_size=12))
def test_the_first_character_that_euc_kr_lacks_is_the_one_that_is_named(text: str) -> None:
    def lacks(character: str) -> bool:
        try:
            return len(character.encode("euc_kr")) > 2
        except UnicodeEncodeError:
            return True

    assert not_in_euc_kr(text) == next((place for place, character in enumerate(text) if lacks(character)), None)


def test_each_way_in_refuses_what_an_sms_cannot_carry(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    good, bad = (
        notification(**SMS, id=id, content={"body": text}) for id, text in (("good", "결제"), ("bad", "• 결제"))
    )
    fault = "content: body has U+2022 at character 1, which an SMS cannot carry"
    policy = settings.quiet_hours()
    request = {"notifications": [good, bad]}
    status, answer = accept_all(request, DAY, sqs, dynamodb, settings, policy, lambda: "made")
    assert (status, [each["id"] for each in answer["accepted"]]) == (202, ["good"])
    assert answer["rejected"] == [{"index": 1, "id": "bad", "errors": [fault]}]

    _, counts = consume([record(to_text([good, bad]), sent_at=DAY)], DAY, sqs, dynamodb, settings, policy)
    assert (counts["now"], counts["refused"]) == (1, 1)
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert text_attributes(letter)["reason"] == f"invalid: {fault}"

    lines = io.BytesIO(b"".join(to_text(each).encode() + b"\n" for each in (good, bad)))
    judged = judge(list(rows("a.jsonl", lines.read)[0]), "etag", SeenInFile(Seen(), Seen()), DAY, settings)
    assert [each.id for each in judged.items] == ["good"]
    assert json.loads(judged.rejected[0])["errors"] == [fault]


# --- time zones


@pytest.mark.parametrize("timezone", ["localtime", "Factory", "posixrules", "posix/Asia/Seoul", "right/Asia/Seoul"])
def test_a_zone_that_differs_from_machine_to_machine_is_refused(timezone: str) -> None:
    with pytest.raises(ValueError, match=r"must be an IANA name such as Asia/Seoul, not .* machine to machine"):
        named_policy("korea", timezone=timezone)


@pytest.mark.parametrize(
    ("timezone", "offset", "hours"),
    [
        ("Etc/GMT+9", "-09:00", "06:00 to 17:00"),
        ("Etc/GMT-9", "+09:00", "12:00 to 23:00"),
        ("Etc/GMT+12", "-12:00", "09:00 to 20:00"),
        ("Etc/GMT-14", "+14:00", "07:00 to 18:00"),
    ],
)
def test_a_zone_whose_sign_is_reversed_is_accepted_with_a_warning(timezone: str, offset: str, hours: str) -> None:
    assert named_policy("korea", timezone=timezone).zone.key == timezone
    assert zone_warning(timezone, "21:00", "08:00", date(2020, 11, 11)) == (
        f"timezone {timezone} is UTC{offset}, because the signs of these names are reversed. Quiet hours from 21:00 to "
        f"08:00 are {hours} UTC today. A name such as Asia/Seoul says what is meant."
    )


@pytest.mark.parametrize("timezone", ["Asia/Seoul", "America/New_York", "UTC", "Etc/UTC", "Etc/GMT", "Etc/GMT+0"])
def test_a_zone_that_is_what_it_says_gets_no_warning(timezone: str) -> None:
    assert zone_warning(timezone, "21:00", "08:00", date(2020, 11, 11)) is None


def test_an_error_of_an_sms_never_shows_the_text() -> None:
    (fault,) = sms_faults(body="secret 010-9876-5432 •")
    assert "secret" not in fault
    assert "9876" not in fault
    with pytest.raises(Invalid):
        accept(notification(content={"body": "\x00"}), default_id="n", now=NIGHT)
    assert to_text({"a": "•"}) == '{"a":"•"}'


# --- times


@pytest.mark.parametrize(
    "text",
    [
        "2020-11-11T24:00:00+09:00",  # taken by Python 3.14
        "2020-11-11T24:00+09:00",
        "2020-11-11T12:60:00+09:00",
        "2020-11-11T12:00:60+09:00",
        "2020-11-11T12:00:00+09:60",  # taken by Python 3.11
        "2020-11-11T12:00:00+24:00",
        "2020-11-11t12:00:00+09:00",
        "2020-11-11 12:00:00+09:00",
        "20201111T120000+0900",
        "2020-W46-3T12:00:00+09:00",
        "2020-11-11T12:00:00+09:00:30",
        "2020-11-11T12:00:00.+09:00",
    ],
)
def test_a_time_that_pythons_versions_read_differently_does_not_get_to_them(text: str) -> None:
    assert not fields._TIME.fullmatch(text)
    assert fields.time_fault(text) == "must be a time with an offset, such as 2020-11-12T12:00:00+09:00"
