"""docs/channels.md and the rules of docs/reliability.md say what the channels do; the example works."""

from __future__ import annotations

import json
import re
import types
from pathlib import Path
from typing import Any

import pytest

from lambdas.quiet_hours.channels import aws_sms, build, slack
from lambdas.quiet_hours.channels.channel import DELIVERED, Channel
from lambdas.quiet_hours.channels.http import Answer
from lambdas.quiet_hours.errors import Misconfigured
from tests.helpers.fake_providers import aws_client, notification, now, send
from tests.helpers.http_peer import answering, listening
from tests.unit.test_channels import CONFIGURED, every_channel

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
DOC = (DOCS / "channels.md").read_text()


def rows(text: str = DOC) -> list[list[str]]:
    _, _, after = text.partition("| channel | goes by |")
    lines = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def built() -> list[tuple[str, dict[str, Any], Channel]]:
    return [(name, config, channel) for (name, config), channel in zip(CONFIGURED, every_channel(), strict=False)]


def test_the_table_says_what_the_channels_do() -> None:
    documented = {(row[0].strip("`"), row[4], row[5], row[6], row[7].strip("`")) for row in rows()}
    assert documented == {
        (
            name,
            "" if channel.rate_per_s is None else f"{channel.rate_per_s:g}",
            str(channel.batch_size),
            f"{channel.deadline_s:g} s",
            "sent again" if channel.can_resend else "dead_letter",
        )
        for name, _, channel in built()
    }


def test_the_table_names_what_has_to_be_set() -> None:
    required = {row[0].strip("`") + ":" + row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in rows()}
    for name, config, _ in built():
        candidates = [settings for key, settings in required.items() if key.startswith(f"{name}:")]
        assert any(set(config) - {"provider"} <= settings for settings in candidates), name


def test_the_rules_of_unknown_outcomes_are_those_of_the_channels() -> None:
    documented = [
        (row[0].strip("`"), row[2], [rule.strip("`") != "dead_letter" for rule in row[4:6]])
        for row in rows((DOCS / "reliability.md").read_text())
    ]
    assert sorted(documented) == sorted(
        (name, f"{channel.deadline_s:g} s", [channel.can_resend, told_to.can_resend])
        for name, config, channel in built()
        for told_to in [build(name, config | {"unknown_outcome": "resend"}, now, aws_client)]
    )


def named(text: str, header: str) -> dict[str, str]:
    """The outcome of each word in the first column of a table."""
    _, _, after = text.partition(f"| {header} | outcome |")
    lines = [line.strip("|").split("|") for line in after.partition("\n\n")[0].splitlines()[2:]]
    return {word: line[1].strip() for line in lines for word in re.findall(r"`(\w+)`", line[0])}


def test_the_table_of_slack_s_errors_says_what_the_channel_does() -> None:
    documented = named(DOC, "error")
    told = [*slack._UNAVAILABLE, *slack._UNAUTHORIZED]
    assert set(told) <= set(documented) and len(documented) > 30
    for error, kind in documented.items():
        answer = Answer(200, {}, json.dumps({"ok": False, "error": error}).encode())
        assert slack._outcome(answer, True, now()).kind == kind, error


def test_every_error_that_may_be_one_conversation_s_is_documented() -> None:
    assert [error for error in (*slack._FORBIDDEN, *slack._OF_ONE_CONVERSATION) if f"`{error}`" not in DOC] == []


def test_every_cause_that_an_sms_may_be_refused_for_is_documented() -> None:
    causes = [cause for cause in aws_sms._MEANINGS if cause.isupper() and not cause.startswith("SENDER_ID_")]
    documented = [cause for cause in causes if f"`{cause}`" in DOC]
    assert [cause for cause in causes if cause not in documented] == ["DESTINATION_PHONE_NUMBER_NOT_VERIFIED"]


@pytest.fixture
def example() -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    module = types.ModuleType("lambdas.quiet_hours.channels.discord")
    module.__package__ = "lambdas.quiet_hours.channels"
    exec(compile(code, "docs/channels.md", "exec"), module.__dict__)
    return module


def test_the_example_has_thirty_lines_of_code() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    body = code.partition("class ")[2]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 30


@pytest.mark.parametrize(
    ("status", "headers", "kind", "retry_after_s"),
    [
        (204, "", "delivered", None),
        (429, "Retry-After: 3\r\n", "unavailable", 3.0),
        (404, "", "unauthorized", None),
        (400, "", "rejected", None),
        (500, "", "unknown", None),
    ],
)
def test_the_example_sends_and_understands_its_answers(
    example: Any, status: int, headers: str, kind: str, retry_after_s: float | None
) -> None:
    given = notification("slack", "a", "#orders", {"body": "안녕하세요"})
    with listening(answering(f"HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n".encode())) as peer:
        (outcome,) = send(example.DiscordChannel({"url": peer.url}, now, local=True), given)
    assert (outcome.kind, outcome.retry_after_s) == (kind, retry_after_s)
    assert peer.requests[0].endswith('{"content":"안녕하세요"}'.encode())
    assert (outcome == DELIVERED) == (status == 204)


def test_the_example_keeps_to_its_limit_its_host_and_its_rule(example: Any) -> None:
    channel = example.DiscordChannel({"url": "https://discord.com/api/webhooks/1/x", "unknown_outcome": "resend"}, now)
    assert channel.can_resend
    assert send(channel, notification("slack", "a", "#a", {"body": "x" * 2001}))[0].kind == "rejected"
    with pytest.raises(Misconfigured, match=r"must be on discord\.com"):
        example.DiscordChannel({"url": "https://example.com/"}, now)
    assert send(channel, notification("slack", "a", "#a", {"template": "t"}))[0].reason.startswith(
        "unfit: content.body"
    )
