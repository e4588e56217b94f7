"""A restricted deployment: which addresses are called, which are answered for, and how everything else ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours import channels
from lambdas.quiet_hours.api.status import look_up
from lambdas.quiet_hours.channels import NotConfigured, restricted
from lambdas.quiet_hours.channels.allow_list import ADDRESSES_MAX, NOT_LISTED, SIMULATED, listed, simulated
from lambdas.quiet_hours.channels.channel import DELIVERED, NOT_CALLED, Channel, Outcome
from lambdas.quiet_hours.delivery.verdicts import ATTEMPTS_MAX
from lambdas.quiet_hours.errors import Misconfigured
from lambdas.quiet_hours.notification.addresses import canonical_address, canonical_recipient
from lambdas.quiet_hours.notification.bundle import REDRIVEN
from lambdas.quiet_hours.notification.notification import CHANNELS
from lambdas.quiet_hours.stores.health import FIRST_REST_S
from lambdas.quiet_hours.stores.ledger import Ledger, Reopening
from tests.helpers.aws import DAY, NIGHT, dynamodb, sqs
from tests.helpers.delivery_world import (
    UNAVAILABLE,
    UNKNOWN,
    World,
    accepted,
    consent,
    health,
    many,
    works,
    world,
)
from tests.unit.test_channels import every_channel

__all__ = ["dynamodb", "sqs", "world"]

TYPED = {
    # the channel, an address as somebody types it on the list, and the same in a notification
    "a Korean number": ("sms", "010-1234-5678", "+82 10-1234-5678"),
    "the same for KakaoTalk": ("kakao", "+821012345678", "01012345678"),
    "an international number": ("sms", "+1 415-555-0100", "+14155550100"),
    "a number that came from a link": ("sms", "tel:010-1234-5678", "010.1234.5678"),
    "an e-mail address": ("email", "Kim <KIM@Example.com>", "kim@example.com"),
    "a Slack channel": ("slack", "#Orders", "#orders"),
    "a Slack id": ("slack", "C024BE91L", "C024BE91L"),
    "a device": ("push", "arn:aws:sns:ap-northeast-2:123456789012:endpoint/GCM/app/1", ""),
    "a webhook's address": ("webhook", "user-42", "user-42"),
    "a webhook's address that is an e-mail address": ("webhook", "kim@example.com", "Kim@Example.com"),
}

NOBODYS = {
    # the channel, and for each kind an address
    "kakao": ("+44 7700 900001", "+447700900199", "+447700900200", "+447700900399"),
    "sms": ("+44 7700 900000", "+447700900100", "+44 7700 900 299", "tel:+447700900300"),
    "email": (
        *("success@simulated.invalid", "Failure@Simulated.invalid"),
        *("bounce+a.b@simulated.invalid", "no-answer@simulated.invalid"),
    ),
    "push": (
        *("success@simulated.invalid", "failure+1@simulated.invalid"),
        *("bounce@simulated.invalid", "no-answer+phone@simulated.invalid"),
    ),
    "slack": (
        *("#success.simulated.invalid", "#Failure.simulated.invalid"),
        *("#bounce.simulated.invalid", "#no-answer.simulated.invalid"),
    ),
    "webhook": (
        *("success@simulated.invalid", "failure@simulated.invalid"),
        *("bounce+order-1@simulated.invalid", "no-answer@simulated.invalid"),
    ),
}

SOMEBODYS = (
    *("+447700900400", "+447700900999", "+447700901000", "+44770090000", "success@example.com"),
    *("success@simulated.invalid.example.com", "successful@simulated.invalid", "+1@simulated.invalid"),
    *("#success", "#successsimulated.invalid", "success", "simulated.invalid"),
)


def to(channel: str, address: str, id: str = "a", **fields: Any) -> dict[str, Any]:
    """A notification as it is accepted: with its channel's form of the address."""
    return accepted(id, channel=channel, address=canonical_address(channel, address), **fields)


class Called(list[str]):
    """A channel that takes everything, and lists the addresses that it was called for."""

    deadline_s, rate_per_s, batch_size, side_by_side, can_resend = 10.0, None, 100, 1, True

    def send(self, notifications: Sequence[Any]) -> list[Outcome]:
        self += [each["address"] for each in notifications]
        return [DELIVERED] * len(notifications)

    def close(self) -> None:
        self.append("closed")


# --- the list


@pytest.mark.parametrize(("channel", "typed", "sent"), TYPED.values(), ids=TYPED)
def test_an_address_is_listed_however_it_was_typed(channel: str, typed: str, sent: str) -> None:
    provider = Called()
    notification = to(channel, sent or typed)
    assert restricted(provider, {"addresses": [typed]}).send([notification]) == [DELIVERED]
    assert restricted(provider, {"addresses": []}).send([notification]) == [NOT_LISTED]
    assert provider == [notification["address"]]


@pytest.mark.parametrize("config", [None, {}, {"addresses": []}])
def test_without_a_list_nobody_is_called(config: object) -> None:
    provider = Called()
    assert restricted(provider, config).send([to("sms", "010-1234-5678")]) == [NOT_LISTED]
    assert provider == []


WRONG = {
    "no object": ["010-1234-5678"],
    "nothing for them": {"addresses": None},
    "one text": {"addresses": "010-1234-5678"},
    "a number": {"addresses": [821012345678]},
    "nothing": {"addresses": [""]},
    "blanks": {"addresses": ["  "]},
    "a digit too few": {"addresses": ["kim@example.com", "010-9999-567"]},
    "what a spreadsheet has made of a number": {"addresses": ["8.21012E+11"]},
    "too many": {"addresses": [f"user-{n}" for n in range(ADDRESSES_MAX + 1)]},
}


@pytest.mark.parametrize("config", WRONG.values(), ids=WRONG)
def test_a_list_that_cannot_be_read_calls_nobody_and_ends_nothing(config: object) -> None:
    """Whoever is listed there would otherwise wait for what has ended."""
    with pytest.raises(Misconfigured, match=r"^recipients\.addresses") as fault:
        listed(config)
    assert not any(each in str(fault.value) for each in ("9999", "kim", "8.21", "user-1"))
    provider = Called()
    channel = restricted(provider, config)
    assert isinstance(channel, NotConfigured)
    (outcome,) = channel.send([to("sms", "010-1234-5678")])
    assert (outcome.kind, provider) == ("misconfigured", [])


def test_the_longest_list_fits_into_the_secret() -> None:
    addresses = [f"{n:03}".rjust(512, "x") for n in range(ADDRESSES_MAX)]
    assert len(listed({"addresses": addresses})) == ADDRESSES_MAX
    assert len(json.dumps({"recipients": {"addresses": addresses}})) < 65_536 - 8_192


# --- simulated addresses


@pytest.mark.parametrize("channel", NOBODYS)
def test_a_simulated_address_is_answered_and_never_called(channel: str) -> None:
    provider = Called()
    given = [to(channel, address, f"id-{n}") for n, address in enumerate(NOBODYS[channel])]
    outcomes = restricted(provider, None).send(given)
    assert outcomes == list(SIMULATED.values())
    assert [each.kind for each in outcomes] == ["delivered", "rejected", "delivered", "unknown"]
    assert provider == []


def test_every_channel_that_reaches_somebody_has_simulated_addresses() -> None:
    assert NOBODYS.keys() == set(CHANNELS) - {"log"}


@pytest.mark.parametrize("channel", NOBODYS)
def test_a_simulated_address_on_the_list_is_not_called_either(channel: str) -> None:
    provider = Called()
    channel_ = restricted(provider, {"addresses": list(NOBODYS[channel])})
    channel_.send([to(channel, address) for address in NOBODYS[channel]])
    assert provider == []


@pytest.mark.parametrize("address", SOMEBODYS)
def test_an_address_beside_the_simulated_ones_is_none(address: str) -> None:
    assert simulated(canonical_recipient(address)) is None


# --- one call


def test_a_call_carries_the_listed_ones_only_and_each_gets_its_own_answer() -> None:
    provider = Called()
    given = [
        to("webhook", address, f"id-{n}")
        for n, address in enumerate(("user-1", "tester-1", "failure@simulated.invalid", "tester-2"))
    ]
    outcomes = restricted(provider, {"addresses": ["tester-1", "tester-2"]}).send(given)
    assert outcomes == [NOT_LISTED, DELIVERED, SIMULATED["failure"], DELIVERED]
    assert provider == ["tester-1", "tester-2"]


@pytest.mark.parametrize("answers", [[], [DELIVERED] * 2, None])
def test_a_fault_in_the_channels_code_is_the_fault_of_nobody_else(answers: list[Outcome] | None) -> None:
    provider = Called()
    provider.send = lambda _: answers  # type: ignore[assignment, method-assign, return-value]
    channel = restricted(provider, {"addresses": ["tester-1"]})
    unlisted, called = channel.send([to("webhook", "user-1"), to("webhook", "tester-1")])
    assert unlisted == NOT_LISTED
    assert (called.kind, called.code) == ("unknown", "channel_error")


def test_a_restricted_channel_is_paced_and_bounded_as_its_provider_is() -> None:
    for channel in every_channel():
        same = restricted(channel, None)
        for name in ("deadline_s", "rate_per_s", "batch_size", "side_by_side", "can_resend"):
            assert getattr(same, name) == getattr(channel, name)
    provider = Called()
    restricted(provider, None).close()
    assert provider == ["closed"]


def test_a_channel_without_settings_waits_for_the_listed_ones_only() -> None:
    channel = restricted(channels.build("sms", None, lambda: DAY, lambda *_: None), {"addresses": ["010-1234-5678"]})
    given = [to("sms", number) for number in ("010-1234-5678", "010-8765-4321", "+447700900001")]
    kinds = [each.kind for each in channel.send(given)]
    assert kinds == ["misconfigured", "not_in_allow_list", "delivered"]


def test_no_reason_shows_an_address() -> None:
    reasons = [NOT_LISTED.reason, *(each.reason for each in SIMULATED.values())]
    assert {reason.partition(":")[0] for reason in reasons} == {"not_listed", "simulated"} <= set(NOT_CALLED)
    assert not any(character in reason for reason in reasons for character in "@+#0123456789")


# --- the whole way through the worker


@pytest.fixture
def staging(world: World) -> World:
    """A restricted deployment with one listed address. What its provider answers is up to each test."""
    world.channel = lambda _: restricted(world.provider, {"addresses": ["tester-1"]})
    return world


def rested(world: World) -> None:
    """Let the time of a rest pass, and the process forget it."""
    world.clock.sleep(FIRST_REST_S + 1)
    world.memory.rests_until.clear()


@pytest.mark.parametrize("can_resend", [True, False])
def test_what_is_not_listed_ends_as_such_and_costs_nobody_anything(staging: World, can_resend: bool) -> None:
    staging.provider.can_resend = can_resend
    settled, counts = staging.invoke(accepted("a"), accepted("b", address="tester-1"))
    assert (settled, counts) == (True, {"not_in_allow_list": 1, "delivered": 1})
    assert staging.states() == {"a": "not_in_allow_list", "b": "delivered"}
    assert staging.provider.ids == ["b"]
    assert staging.on("dead-letter") == []
    entry = staging.entry("a")
    assert entry and entry.ended_at and not entry.sending
    assert entry.reason == "not_listed: this deployment calls listed and simulated addresses only"


def test_the_api_says_how_it_ended(staging: World) -> None:
    staging.invoke(accepted())
    ledger = Ledger(staging.dynamodb, "ledger", "api", timedelta(minutes=2))
    status, answer = look_up("a", DAY, staging.dynamodb, ledger, staging.settings, staging.policy)
    assert (status, answer["state"]) == (200, "not_in_allow_list")
    assert answer["why"].startswith("not_listed: ")


def test_it_is_held_first_like_any_other(staging: World) -> None:
    staging.clock.now = NIGHT
    staging.invoke(accepted(category="advertising"))
    assert (staging.on("wait"), staging.states()) == ([["a"]], {})


def test_it_opts_out_and_expires_like_any_other(staging: World) -> None:
    consent(staging, "user-42", opted_out=True)
    staging.invoke(
        accepted("a", category="advertising"),
        accepted("b", expires_at="2020-11-11T02:59:30.000+00:00"),
    )
    assert staging.states() == {"a": "opted_out", "b": "expired"}


def test_it_books_its_turn_like_any_other(staging: World) -> None:
    staging.provider.rate_per_s = 10
    staging.provider.batch_size = 10
    staging.put(*many(40))
    staging.run()
    assert set(staging.states().values()) == {"not_in_allow_list"}
    assert (staging.clock() - DAY).total_seconds() >= 2.9


def test_a_duplicate_of_it_is_absorbed_even_if_its_address_is_listed_by_then(staging: World) -> None:
    staging.invoke(accepted())
    staging.channel = lambda _: restricted(staging.provider, {"addresses": ["user-42"]})
    assert staging.invoke(accepted()) == (True, {"absorbed": 1})
    assert staging.provider.ids == []


def test_a_redrive_asks_the_list_too(staging: World) -> None:
    """It was sent when it was listed, its outcome was unknown, and an operator lets it be sent again."""
    staging.provider.can_resend, staging.provider.answer = False, lambda _: UNKNOWN
    staging.invoke(accepted(address="tester-1"))
    letter = staging.letter()
    staging.channel = lambda _: restricted(staging.provider, None)
    ledger = Ledger(staging.dynamodb, "ledger", "operator", timedelta(minutes=2))
    unknown = ledger.read("a")
    assert unknown
    ledger.reopen([Reopening(unknown, unknown.fingerprint)], staging.clock())
    rested(staging)
    staging.receive(letter.body, attributes={REDRIVEN: letter.attributes[REDRIVEN]})
    assert (staging.provider.ids, staging.state("a")) == (["a"], "not_in_allow_list")


def test_what_an_earlier_call_may_have_brought_is_not_forgotten(staging: World) -> None:
    works(staging)
    staging.provider.answer = lambda _: UNKNOWN
    staging.invoke(accepted(address="tester-1"))
    staging.channel = lambda _: restricted(staging.provider, None)
    staging.run()
    entry = staging.entry("a")
    assert entry and entry.state == "not_in_allow_list"
    assert entry.reason.endswith("; an earlier call had no answer, so that the provider may have it")


@pytest.mark.parametrize(
    ("kind", "can_resend", "state"),
    [
        ("success", True, "delivered"),
        ("failure", True, "dead_lettered"),
        ("bounce", True, "delivered"),
        ("no-answer", True, "dead_lettered"),
        ("no-answer", False, "unknown"),
    ],
)
def test_a_simulated_address_ends_as_a_real_one_would(staging: World, kind: str, can_resend: bool, state: str) -> None:
    staging.provider.can_resend = can_resend
    staging.put(accepted(address=f"{kind}@simulated.invalid"))
    staging.run()
    assert (staging.state("a"), staging.provider.ids) == (state, [])
    assert [sent.attributes["reason"].partition(":")[0] for sent in staging.sqs.messages["dead-letter"]] == {
        "delivered": [],
        "dead_lettered": ["simulated" if kind == "failure" else "attempts_exhausted"],
        "unknown": ["unknown_outcome"],
    }[state]
    if kind == "no-answer" and can_resend:
        entry = staging.entry("a")
        assert entry and f"attempts_exhausted: {ATTEMPTS_MAX}, the last: simulated: " in entry.reason


# --- the health of the channel


def test_the_workers_own_answers_say_nothing_about_the_provider(staging: World) -> None:
    for number in range(5):
        staging.invoke(accepted(f"no-{number}", address="no-answer@simulated.invalid"))
        staging.invoke(accepted(f"yes-{number}", address="success@simulated.invalid"))
        staging.invoke(accepted(f"un-{number}"))
    assert not health(staging).rests
    assert (health(staging).served_ms, staging.memory.delivered_at) == (0, {})


def test_a_provider_that_is_away_rests_although_simulated_ones_are_delivered(staging: World) -> None:
    staging.provider.answer = lambda _: UNAVAILABLE
    staging.provider.batch_size = 10
    staging.invoke(accepted("a", address="success@simulated.invalid"), accepted("b", address="tester-1"))
    assert staging.states() == {"a": "delivered", "b": "released"}
    assert health(staging).rests


def test_a_failure_is_of_the_one_that_was_called(staging: World) -> None:
    """A second failure of the same notification blames it, one of another blames the channel."""
    works(staging)
    staging.provider.batch_size = 10
    staging.provider.answer = lambda _: UNKNOWN
    staging.invoke(accepted("a"), accepted("b", address="tester-1"))
    assert health(staging).failed == "b"


def test_a_probe_that_calls_nobody_lets_the_next_one_probe_at_once(staging: World) -> None:
    """Otherwise a thousand notifications to nobody would each keep the rest going for the length of a lease."""
    staging.provider.answer = lambda _: UNAVAILABLE
    staging.invoke(accepted("first", address="tester-1"))
    staging.provider.answer = lambda _: DELIVERED
    rested(staging)
    staging.invoke(*many(20), accepted("last", address="tester-1"))
    assert set(staging.states().values()) - {"released"} == {"not_in_allow_list", "delivered"}
    assert (staging.state("last"), health(staging).rests) == ("delivered", False)


def test_a_probe_that_calls_nobody_ends_no_rest(staging: World) -> None:
    staging.provider.answer = lambda _: UNAVAILABLE
    staging.invoke(accepted("first", address="tester-1"))
    rested(staging)
    staging.invoke(accepted("a"), accepted("b", address="success@simulated.invalid"))
    assert (staging.state("a"), staging.state("b")) == ("not_in_allow_list", "delivered")
    assert health(staging).rests


def test_a_template_that_rests_is_probed_by_one_that_is_called(staging: World) -> None:
    refused = Outcome("rejected", "solapi_1042: no such template", refuses_template=True)
    staging.provider.answer = lambda _: refused
    content = {"template": "sale"}
    for number in range(3):
        staging.invoke(accepted(f"refused-{number}", address="tester-1", content=content))
    assert staging.state("refused-2") == "released"
    staging.provider.answer = lambda _: DELIVERED
    staging.sqs.messages["delivery"].clear()
    staging.put(*many(5, content=content), accepted("last", address="tester-1", content=content))
    staging.run(for_s=60)
    assert staging.state("last") == "delivered"
    assert [staging.state(f"id-{n}") for n in range(5)] == ["not_in_allow_list"] * 5


def test_a_simulated_delivery_does_not_excuse_a_template(staging: World) -> None:
    """Three refusals in a row let a template rest. What the worker answers itself is no delivery between them."""
    refused = Outcome("rejected", "solapi_1042: no such template", refuses_template=True)
    staging.provider.answer = lambda _: refused
    content = {"template": "sale"}
    for number in range(3):
        staging.invoke(accepted(f"refused-{number}", address="tester-1", content=content))
        staging.invoke(accepted(f"ok-{number}", address="success@simulated.invalid", content=content))
    assert [staging.state(f"refused-{n}") for n in range(3)] == ["dead_lettered", "dead_lettered", "released"]


def test_every_channel_can_be_restricted() -> None:
    every: list[Channel] = every_channel()
    assert [restricted(each, {"addresses": []}).send([accepted(address="x")]) for each in every] == [
        [NOT_LISTED] for _ in every
    ]
