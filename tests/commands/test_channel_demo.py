"""`make demo CHANNELS=all`: what is played, where it goes, and what is counted at each provider."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from demo import run as demo
from demo.count import by_provider, count, problems
from demo.evening import EVENING, read
from demo.every_channel import CHANNELS, by_every_channel
from demo.view import providers_table
from fakes.secret import PROVIDERS, secret
from fakes.server import Fakes
from lambdas.quiet_hours.channels import build
from lambdas.quiet_hours.channels.channel import DELIVERED
from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification.label import label_faults
from lambdas.quiet_hours.notification.notification import accept
from local import CommandError
from tests.commands.test_examples import KOREA
from tests.commands.test_local_count import END, START, arrival, evening
from tests.helpers.fake_providers import aws_client, fakes, now, send


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return by_every_channel(read(EVENING))


def of(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = line.get("notification", {})
    return found


def test_every_channel_gets_its_part_of_the_evening(lines: list[dict[str, Any]]) -> None:
    spread = Counter(of(line).get("channel") for line in lines)
    assert all(spread[channel] > 300 for channel in CHANNELS)
    assert set(PROVIDERS.values()) == set(CHANNELS)


def test_only_channel_address_and_form_are_others(lines: list[dict[str, Any]]) -> None:
    for before, after in zip(read(EVENING), lines, strict=True):
        assert {name: before[name] for name in before if name != "notification"} == {
            name: after[name] for name in after if name != "notification"
        }
        for name in ("id", "category", "source", "metadata"):
            assert of(before).get(name) == of(after).get(name)
        if of(after).get("channel") in CHANNELS and not str(of(before).get("id")).startswith("faulty"):
            recipient = of(before).get("recipient_id", of(before).get("address"))
            assert of(after).get("recipient_id", of(after).get("address")) == recipient


def test_advertising_stays_labelled(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        try:
            notification, _ = accept(of(line), default_id="n", now=now())
        except Invalid:
            continue
        assert label_faults(notification, KOREA) == []


def test_what_is_sent_again_goes_the_same_way_again(lines: list[dict[str, Any]]) -> None:
    ways: dict[str, set[Any]] = {}
    for line in lines:
        if "id" in of(line):
            ways.setdefault(of(line)["id"], set()).add((of(line).get("channel"), str(of(line).get("address"))))
    assert all(len(found) == 1 for found in ways.values())


def test_every_provider_takes_what_the_evening_has_for_it(lines: list[dict[str, Any]]) -> None:
    """One of each text for each channel: none is too long, and every signature is right."""
    seen: set[Any] = set()
    with fakes() as running:
        channels = {
            name: build(name, config, now, aws_client, local=True) for name, config in secret(running.url).items()
        }
        sent = 0
        for number, line in enumerate(lines):
            kind = (of(line).get("channel"), str(of(line).get("source")), len(str(of(line).get("content"))) // 50)
            if kind[0] not in CHANNELS or kind in seen:
                continue
            try:
                notification, _ = accept(of(line), default_id=f"n{number}", now=now())
            except Invalid:  # somebody's mistake
                continue
            seen.add(kind)
            assert send(channels[kind[0]], notification) == [DELIVERED]
            sent += 1
        assert len(running.taken) == sent > 30
        assert {entry["provider"] for entry in running.lines} == set(PROVIDERS)


def test_a_webhook_that_is_signed_with_another_secret_is_refused_by_its_fake(lines: list[dict[str, Any]]) -> None:
    line = next(of(line) for line in lines if of(line).get("channel") == "webhook" and "id" in of(line))
    with fakes() as running:
        config = secret(running.url)["webhook"] | {"secret": "whsec_b3RoZXI="}
        (outcome,) = send(
            build("webhook", config, now, aws_client, local=True), accept(line, default_id="n", now=now())[0]
        )
    assert (outcome.kind, running.taken) == ("unauthorized", [])


def test_each_provider_is_counted_by_its_own_book() -> None:
    seen = evening()
    again = replace(arrival("ad", END + timedelta(seconds=3)), provider="ses")
    refused = replace(arrival("gone", END, status=410), provider="slack")
    early = replace(arrival("flash", START + timedelta(seconds=1)), provider="ses")
    seen = replace(seen, arrivals=[again, again, refused, early])
    assert by_provider(seen) == {
        "ses": {
            "delivered": 2,
            "held": len({"ad", "flash"} & set(seen.held)),
            "refused": 0,
            "early": 1,
            "duplicates": 1,
        },
        "slack": {"delivered": 0, "held": 0, "refused": 1, "early": 0, "duplicates": 0},
    }


def test_advertising_by_e_mail_at_night_is_not_early_and_by_anything_else_it_is() -> None:
    seen = evening()
    at_night = replace(seen, arrivals=[arrival("ad", START + timedelta(seconds=1))])
    for channel, early in (("email", 0), ("sms", 1), ("kakao", 1), ("push", 1), ("slack", 1), ("webhook", 1)):
        at_night.sent.notifications["ad"]["channel"] = channel
        assert count(at_night)["early"] == early
        assert ("early is 1, not 0" in problems(count(at_night), at_night)) == bool(early)


def test_the_table_has_a_row_for_every_provider() -> None:
    names = ("delivered", "held", "refused", "early", "duplicates")
    console = Console(width=100, record=True)
    with console.capture() as captured:
        console.print(providers_table({name: dict.fromkeys(names, 7) for name in PROVIDERS}, PROVIDERS))
    assert all(provider in captured.get() and channel in captured.get() for provider, channel in PROVIDERS.items())


def test_channels_is_all_or_not_given() -> None:
    assert demo._evening("all", "").every_channel
    assert not demo._evening("", "").every_channel
    with pytest.raises(CommandError, match="CHANNELS must be all"):
        demo._evening("slack", "")


def test_one_of_the_fakes_can_hang_over_quiet_hours() -> None:
    assert demo._evening("all", "solapi").hangs == "solapi"
    for channels, hangs in (("", "solapi"), ("all", "kakao")):
        with pytest.raises(CommandError, match="HANGS must be one of solapi"):
            demo._evening(channels, hangs)
    start = datetime(2020, 11, 11, 12, tzinfo=UTC)
    (rule,) = demo._hanging("solapi", (start, start + timedelta(minutes=1)))
    assert rule == {"hangs": "solapi", "from": "2020-11-11T11:59:00+00:00", "until": "2020-11-11T12:02:00+00:00"}
    assert demo._hanging("", (start, start)) == []


def test_a_fake_that_hangs_gives_no_answer_from_the_begin_to_before_the_end(tmp_path: Path) -> None:
    with (tmp_path / "book").open("w") as book, Fakes(0, book) as fakes:
        fakes.set_rules(
            [{"hangs": "solapi", "from": "2020-11-11T12:00:00+00:00", "until": "2020-11-11T12:02:00+00:00"}]
        )
        begin = datetime(2020, 11, 11, 12, tzinfo=UTC)
        hangs = [fakes._hangs("solapi", begin + timedelta(seconds=s)) for s in (-1, 0, 119, 120)]
        assert hangs == [False, True, True, False]
        assert not fakes._hangs("slack", begin)
