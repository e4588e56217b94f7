"""Solapi, against a fake of it on a real socket: SMS, LMS, AlimTalk and brand messages, many a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from fakes.solapi import API_KEY, API_SECRET, PF_ID, SENDER
from lambdas.quiet_hours.channels import NotConfigured, build
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.channels.solapi import ALONE_FOR, BATCH_SIZE, SolapiChannel
from tests.helpers.fake_providers import Running, fakes, no_clients, nobody_there, notification, now, send
from tests.helpers.http_peer import Peer, answering, listening


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with fakes() as running:
        yield running


@pytest.fixture
def solapi(running: Running) -> Running:
    return running.anew()


def sms(url: str, **config: Any) -> SolapiChannel:
    given = {"api_key": API_KEY, "api_secret": API_SECRET, "from": SENDER, "endpoint_url": url}
    return SolapiChannel("sms", given | config, now)


def kakao(url: str, **config: Any) -> SolapiChannel:
    given = {"api_key": API_KEY, "api_secret": API_SECRET, "pf_id": PF_ID, "endpoint_url": url}
    return SolapiChannel("kakao", given | config, now)


def text(id: str = "a", body: str = "안녕하세요", address: str = "010-1234-5678", **content: Any) -> Any:
    return notification("sms", id, address, {"body": body} | content)


def talk(id: str = "a", category: str = "informational", **content: Any) -> Any:
    return notification("kakao", id, "010-1234-5678", content, category=category)


def sent(solapi: Running) -> list[dict[str, Any]]:
    return [message for body in solapi.bodies[:1] for message in body["messages"]]


# --- what is sent


def test_a_short_text_is_an_sms_from_the_registered_number_to_the_national_one(solapi: Running) -> None:
    assert send(sms(solapi.url), text("order-1:paid")) == [DELIVERED]
    assert sent(solapi) == [
        {
            "to": "01012345678",
            "customFields": {"place": "0", "notification": "order-1:paid"},
            "from": SENDER,
            "text": "안녕하세요",
            "type": "SMS",
        }
    ]


@pytest.mark.parametrize(
    ("body", "type_"),
    [("가" * 45, "SMS"), ("가" * 45 + "a", "LMS"), ("a" * 90, "SMS"), ("a" * 91, "LMS"), ("가" * 1000, "LMS")],
)
def test_a_text_is_measured_in_the_phone_networks_own_encoding(solapi: Running, body: str, type_: str) -> None:
    assert send(sms(solapi.url), text(body=body)) == [DELIVERED]
    assert sent(solapi)[0]["type"] == type_


def test_a_title_makes_it_an_lms_with_a_subject(solapi: Running) -> None:
    assert send(sms(solapi.url), text(title="(광고) 겨울 세일")) == [DELIVERED]
    assert (sent(solapi)[0]["type"], sent(solapi)[0]["subject"]) == ("LMS", "(광고) 겨울 세일")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"body": "가" * 1001}, "content.body must be at most 2000 bytes in EUC-KR"),
        ({"title": "가" * 21}, "content.title must be at most 40 bytes in EUC-KR"),
        ({"body": "canary 🎉"}, "content.body has U+1F389 at character 8, which EUC-KR lacks"),
        ({"body": "canary 뷁"}, "content.body has U+BDC1 at character 8, which EUC-KR lacks"),
        ({"title": "canary ½ 뷁"}, "content.title has U+BDC1 at character 10, which EUC-KR lacks"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field_and_the_limit_and_never_sent(
    solapi: Running, content: dict[str, str], reason: str
) -> None:
    assert send(sms(solapi.url), text(**content)) == [Outcome("rejected", f"unfit: {reason}")]
    assert solapi.lines == []


def test_a_number_abroad_is_refused(solapi: Running) -> None:
    (outcome,) = send(sms(solapi.url), text(address="+14155550100"))
    assert outcome == Outcome("rejected", "unfit: address must be a Korean number, which begins with +82")


def test_information_goes_by_alimtalk_with_a_registered_template(solapi: Running) -> None:
    given = talk("a", template="KA01TP1", variables={"이름": "김서연", "#{금액}": "12,900"})
    assert send(kakao(solapi.url), given) == [DELIVERED]
    (message,) = sent(solapi)
    assert message["type"] == "ATA"
    assert message["kakaoOptions"] == {
        "pfId": PF_ID,
        "disableSms": True,
        "templateId": "KA01TP1",
        "variables": {"#{이름}": "김서연", "#{금액}": "12,900"},
    }
    assert "text" not in message


def test_advertising_goes_as_a_brand_message_with_or_without_a_template(solapi: Running) -> None:
    free, template = (
        talk("free", "advertising", title="(광고) 세일 🎉", body="무료 수신거부 080"),
        talk("template", "advertising", template="KA01BM1"),
    )
    assert send(kakao(solapi.url, targeting="M"), free, template) == [DELIVERED] * 2
    first, second = sent(solapi)
    assert (first["type"], first["text"]) == ("BMS_FREE", "(광고) 세일 🎉\n무료 수신거부 080")
    assert first["kakaoOptions"]["bms"] == {"targeting": "M", "chatBubbleType": "TEXT"}
    assert second["kakaoOptions"] == {
        "pfId": PF_ID,
        "disableSms": True,
        "templateId": "KA01BM1",
        "variables": {},
        "bms": {"targeting": "M"},
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (talk(body="hi"), "content.template is required: AlimTalk carries registered templates only"),
        (talk(template="t", body="가" * 1001), "content.body must be at most 1000 characters"),
        (talk(template="t", variables={"n": 7}), "content.variables must all be text"),
        (
            talk(category="advertising", title="a" * 300, body="b" * 1000),
            "content.title and content.body together must be at most 1300 characters in 100 lines",
        ),
        (
            talk(category="advertising", body="\n" * 100),
            "content.title and content.body together must be at most 1300 characters in 100 lines",
        ),
    ],
)
def test_what_kakaotalk_does_not_take_is_refused(solapi: Running, given: Any, reason: str) -> None:
    assert send(kakao(solapi.url), given) == [Outcome("rejected", f"unfit: {reason}")]
    assert solapi.lines == []


# --- many a call


def test_a_bundle_is_one_call_and_every_message_has_its_own_answer(solapi: Running) -> None:
    solapi.rules({"id_ends": ":gone", "refuse": True})
    given = [text(f"n-{n}{':gone' if n % 3 == 0 else ''}", address=f"0101234{n:04}") for n in range(100)]
    outcomes = send(sms(solapi.url), *given)
    assert [outcome.kind for outcome in outcomes] == ["rejected" if n % 3 == 0 else "delivered" for n in range(100)]
    assert outcomes[0].reason == "solapi_1061: Solapi's status 1061"
    assert len({line["body"] for line in solapi.lines}) == 1
    assert sorted(solapi.taken) == sorted(f"n-{n}" for n in range(100) if n % 3)


def test_two_messages_to_one_number_are_both_sent(solapi: Running) -> None:
    assert send(sms(solapi.url), text("a"), text("b")) == [DELIVERED] * 2


def test_one_that_does_not_fit_does_not_take_its_neighbours_with_it(solapi: Running) -> None:
    outcomes = send(sms(solapi.url), text("a"), text("b", body="🎉"), text("c"))
    assert [outcome.kind for outcome in outcomes] == ["delivered", "rejected", "delivered"]
    assert solapi.taken == ["a", "c"]


def test_an_id_that_is_too_long_for_a_custom_field_is_left_out(solapi: Running) -> None:
    assert send(sms(solapi.url), text("x" * 101)) == [DELIVERED]
    assert sent(solapi)[0]["customFields"] == {"place": "0"}


def saying(value: object, status: int = 200, headers: str = "") -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def listed(*failures: dict[str, Any], total: int = 2) -> bytes:
    counts = {"total": total, "registeredFailed": len(failures), "registeredSuccess": total - len(failures)}
    return saying({"failedMessageList": list(failures), "groupInfo": {"count": counts}})


def kinds(raw: bytes, *given: Any) -> list[str]:
    with listening(answering(raw)) as peer:
        return [outcome.kind for outcome in send(sms(base(peer)), *given)]


def base(peer: Peer) -> str:
    return f"http://127.0.0.1:{peer.port}"


ONE, OTHER = text("one", address="010-1111-1111"), text("other", address="010-2222-2222")


def test_a_listed_failure_that_repeats_no_field_is_told_by_its_number() -> None:
    assert kinds(listed({"to": "01022222222", "statusCode": "1061"}), ONE, OTHER) == ["delivered", "rejected"]


def test_where_it_may_be_either_of_two_nobody_knows_which() -> None:
    twin = text("twin", address="010-1111-1111")
    raw = listed({"to": "01011111111", "statusCode": "1061"}, total=3)
    assert kinds(raw, ONE, twin, OTHER) == ["unknown", "unknown", "delivered"]


@pytest.mark.parametrize(
    "raw",
    [
        saying(b"<html>"),
        saying(b""),
        saying([]),
        saying({}),
        saying({"failedMessageList": None, "groupInfo": {"count": {"total": 2, "registeredFailed": 0}}}),
        saying({"failedMessageList": [], "groupInfo": {"count": {"total": 1, "registeredFailed": 0}}}),
        saying({"failedMessageList": [], "groupInfo": {"count": {"total": 2, "registeredFailed": 1}}}),
        listed({"to": "01099999999", "statusCode": "1061"}),
        listed({"to": "01011111111"}),
        listed({"customFields": {"place": "7"}, "statusCode": "1061"}),
        listed({"customFields": {"place": "x"}, "statusCode": "1061"}),
    ],
)
def test_an_answer_that_does_not_add_up_leaves_everything_unknown(raw: bytes) -> None:
    assert kinds(raw, ONE, OTHER) == ["unknown", "unknown"]


@pytest.mark.parametrize("code", ["1020", "1024", "1030", "1062", "1041"])
def test_what_is_wrong_with_the_account_is_not_the_message_s_fault(code: str) -> None:
    kind = "unavailable" if code == "1024" else "misconfigured"  # a fault of Solapi's own, or the account's
    assert kinds(listed({"to": "01011111111", "statusCode": code}), ONE, OTHER) == [kind, "delivered"]


@pytest.mark.parametrize(
    ("code", "is_template"),
    [*((code, True) for code in ("1042", "1043", "1046", "3103", "3105")), ("1061", False), ("3104", False)],
)
def test_a_status_says_if_the_template_is_refused(code: str, is_template: bool) -> None:
    with listening(answering(listed({"to": "01011111111", "statusCode": code}))) as peer:
        refused, delivered = send(sms(base(peer)), ONE, OTHER)
    assert (refused.kind, refused.refuses_template) == ("rejected", is_template)
    assert refused.reason.startswith(f"solapi_{code}: Solapi's status {code}")
    assert (delivered.kind, delivered.refuses_template) == ("delivered", False)


# --- errors of the whole call


@pytest.mark.parametrize("config", [{"api_key": "NCSOTHER"}, {"api_secret": "canary-secret"}])
def test_credentials_that_are_refused_are_the_channel_s_fault(solapi: Running, config: dict[str, str]) -> None:
    (outcome,) = send(sms(solapi.url, **config), text())
    assert outcome.kind == "unauthorized"
    assert outcome.reason.endswith("; check its credentials in the channel secret")
    assert "canary" not in outcome.reason
    assert solapi.taken == []


def test_a_clock_that_is_wrong_is_refused_too(solapi: Running) -> None:
    config = {"api_key": API_KEY, "api_secret": API_SECRET, "from": SENDER, "endpoint_url": solapi.url}
    late = SolapiChannel("sms", config, lambda: now() - timedelta(minutes=16))
    (outcome,) = send(late, text())
    assert outcome.reason.startswith("solapi_RequestTimeTooSkewed: Solapi answered 403 RequestTimeTooSkewed")


def test_no_signature_is_used_twice(solapi: Running) -> None:
    """Solapi refuses a second use within 15 minutes."""
    channel = sms(solapi.url)
    assert [send(channel, text(f"n-{n}"))[0].kind for n in range(20)] == ["delivered"] * 20


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, "unavailable"),
        (500, "unknown"),
        (502, "unknown"),
        (503, "unavailable"),
        (504, "unknown"),
        (402, "misconfigured"),
        (302, "forbidden"),
        (404, "forbidden"),
    ],
)
def test_what_solapi_s_troubles_mean(solapi: Running, status: int, kind: str) -> None:
    solapi.rules({"status": status, "retry_after_s": 9})
    outcomes = send(sms(solapi.url), text("a"), text("b"))
    assert [outcome.kind for outcome in outcomes] == [kind] * 2
    if status in (429, 503):
        assert outcomes[0].retry_after_s == 9


def test_an_answer_lost_after_acceptance_leaves_all_of_the_call_unknown(solapi: Running) -> None:
    solapi.rules({"hang_up": True, "times": 1})
    outcomes = send(sms(solapi.url), text("a"), text("b"))
    assert solapi.taken == ["a", "b"]
    assert [outcome.kind for outcome in outcomes] == ["unknown"] * 2
    assert outcomes[0].reason == "no_answer: Solapi did not answer within 10 s (RemoteDisconnected)"


def test_a_slow_answer_is_waited_for(solapi: Running) -> None:
    solapi.rules({"delay_s": 0.5, "times": 1})
    assert send(sms(solapi.url), text()) == [DELIVERED]


def test_without_a_connection_nothing_was_sent() -> None:
    (outcome,) = send(sms(nobody_there()), text())
    assert outcome == Outcome("unavailable", "not_connected: no connection to Solapi (ConnectionRefusedError)")


def test_a_call_that_is_refused_as_a_whole_is_made_again_one_by_one(solapi: Running) -> None:
    """Nobody can tell which message is to blame: it is found when each goes alone, and the others with it arrive."""
    clock = [now()]
    config = {"api_key": API_KEY, "api_secret": API_SECRET, "from": SENDER, "endpoint_url": solapi.url}
    channel = SolapiChannel("sms", config, lambda: clock[0])
    solapi.rules({"id_ends": "bad", "status": 400})
    assert channel.batch_size == BATCH_SIZE == 100
    outcomes = send(channel, text("a"), text("bad"), text("c"))
    assert [outcome.kind for outcome in outcomes] == ["retry"] * 3
    assert channel.batch_size == 1
    assert [send(channel, text(id))[0].kind for id in ("a", "bad", "c")] == ["delivered", "rejected", "delivered"]
    clock[0] += ALONE_FOR
    assert channel.batch_size == BATCH_SIZE


def test_no_reason_shows_what_was_sent(solapi: Running) -> None:
    reasons = []
    for status in (None, 400, 429, 500, 503):
        solapi.rules(*([{"status": status}] if status else [{"refuse": True}]))
        reasons += [each.reason for each in send(sms(solapi.url), text(body="canary", address="010-9999-1234"))]
    assert len(reasons) == 5
    assert not [reason for reason in reasons if "canary" in reason or "9999" in reason or not reason]


# --- configuration


@pytest.mark.parametrize(
    ("name", "config", "named"),
    [
        ("sms", None, 'the channel secret needs {"sms": {"provider": "solapi"'),
        ("kakao", None, 'the channel secret needs {"kakao": {"api_key": …'),
        ("sms", {}, "sms.provider must be"),
        ("sms", {"provider": "canary"}, "sms.provider must be"),
        ("sms", {"provider": "solapi"}, "sms.api_key must be set"),
        ("sms", {"provider": "solapi", "api_key": "canary"}, "sms.api_secret must be set"),
        ("sms", {"provider": "solapi", "api_key": "k", "api_secret": "canary"}, "sms.from must be set"),
        ("kakao", {"api_key": "k", "api_secret": "canary"}, "kakao.pf_id must be set"),
        (
            "kakao",
            {"api_key": "k", "api_secret": "s", "pf_id": "p", "targeting": "canary"},
            "kakao.targeting must be I, M or N",
        ),
        ("sms", {"provider": "solapi", "api_key": "canary\r\nX: y"}, "sms.api_key must be text of visible ASCII"),
    ],
)
def test_what_is_set_up_wrongly_is_named_and_never_shown(name: str, config: Any, named: str) -> None:
    channel = build(name, config, now, no_clients)
    assert isinstance(channel, NotConfigured)
    (outcome,) = channel.send([text()])
    assert named in outcome.reason
    assert "canary" not in outcome.reason


def test_the_setting_decides_what_becomes_of_an_unknown_outcome() -> None:
    assert not sms("http://127.0.0.1:1").can_resend
    assert sms("http://127.0.0.1:1", unknown_outcome="resend").can_resend


def test_the_provider_s_own_host_is_the_one_that_is_called_unless_told() -> None:
    config = {"api_key": API_KEY, "api_secret": API_SECRET, "from": SENDER}
    client = SolapiChannel("sms", config, now)._http
    assert (client._host, client._target) == ("api.solapi.com", "/messages/v4/send-many/detail")
