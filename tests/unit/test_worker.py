"""The worker as Lambda calls it (R12, R13): environment, clients, secret, a real receiver, and what it logs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from aws_lambda_powertools.utilities.parameters import SecretsProvider

from fakes.secret import secret as channel_secret
from lambdas import worker
from lambdas.quiet_hours.channels.allow_list import NOT_LISTED
from lambdas.quiet_hours.channels.channel import DELIVERED
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.delivery import Delivered, Delivery
from lambdas.quiet_hours.errors import HandlerFailed, LedgerUnavailable
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import WORKER_TIMEOUT_S
from tests.helpers.aws import (
    aws,
    dynamodb,
    put_consent,
    record,
    settings,
    sqs,
    take,
    take_notifications,
    text_attributes,
)
from tests.helpers.fake_providers import aws_client, fakes
from tests.helpers.http_peer import Peer, answering, listening

__all__ = ["dynamodb", "settings", "sqs"]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
KEY = b"a key of twenty-four byte"
LOGGED_ALWAYS = ("level", "location", "message", "timestamp", "service", "function_request_id")
CANARIES = ("010-9999-1234", "+821099991234", "99991234", "canary")


@dataclass
class Context:
    """The context that Lambda hands to a handler, as far as the worker needs it."""

    aws_request_id: str
    ends_at: float

    def get_remaining_time_in_millis(self) -> int:
        return int((self.ends_at - time.monotonic()) * 1000)


@cache
def secrets_client() -> Any:
    """Made once: loading its model takes longer than most tests."""
    return aws("secretsmanager")


@pytest.fixture
def secrets(settings: Settings) -> Any:
    secrets_client().create_secret(Name=settings.channel_secret, SecretString="{}")
    return secrets_client()


@pytest.fixture
def env(settings: Settings, secrets: Any, sqs: Any, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of a fresh process."""
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    fresh_process(monkeypatch, sqs, dynamodb)
    monkeypatch.setattr(worker.channels, "local_use", lambda: True)
    return settings


def fresh_process(monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any) -> None:
    clients = sqs, dynamodb, SecretsProvider(boto3_client=secrets_client())
    monkeypatch.setattr(worker, "_clients", lambda: clients)
    monkeypatch.setattr(worker, "_memory", Memory())
    monkeypatch.setattr(worker, "_channels", {})


def end_rests(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each channel have rested, as if the time were over."""
    for item in dynamodb.scan(TableName="turn")["Items"]:
        dynamodb.delete_item(TableName="turn", Key={"channel": item["channel"]})
    monkeypatch.setattr(worker, "_memory", Memory())


def invoke(*records: dict[str, Any]) -> dict[str, Any]:
    context: Any = Context(f"request-{time.monotonic_ns()}", time.monotonic() + WORKER_TIMEOUT_S)
    return worker.handler({"Records": list(records)}, context)


def now(minutes: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="milliseconds")


def notification(id: str, **fields: Any) -> dict[str, Any]:
    given = {
        "id": id,
        "category": "informational",
        "channel": "webhook",
        "address": "user-42",
        "content": {"body": "주문하신 상품이 출발했습니다"},
        "accepted_at": now(-1),
        "expires_at": now(60),
    }
    return given | fields


def message(*notifications: Any, queue: str = "delivery", **more: Any) -> dict[str, Any]:
    return record(json.dumps(list(notifications), ensure_ascii=False), queue=queue, sent_at=datetime.now(UTC), **more)


def configure(secrets: Any, settings: Settings, webhook: Any) -> None:
    secrets.put_secret_value(SecretId=settings.channel_secret, SecretString=json.dumps({"webhook": webhook}))


def state(dynamodb: Any, id: str) -> str:
    item = dynamodb.get_item(TableName="ledger", Key={"id": {"S": id}}).get("Item", {})
    return str(item.get("state", {}).get("S"))


def delayed(sqs: Any, queue_url: str) -> int:
    """The number of messages that a queue shows later."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessagesDelayed"])


def bodies(peer: Peer) -> list[Any]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in peer.requests]


def refusing(*ids: str, status: int = 400) -> Any:
    """A receiver that refuses these ids."""

    def talk(peer: Peer, connection: Any) -> None:
        while (request := peer.read_request(connection)) is not None:
            refused = any(f'"id":"{id}"'.encode() in request for id in ids)
            connection.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode() if refused else OK)

    return talk


def test_a_bundle_goes_out_to_the_configured_receiver_signed_and_is_recorded(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any
) -> None:
    put_consent(dynamodb, "user-42", opted_out=True)
    sent = [notification(f"order-{n}") for n in range(30)]
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url, "secret": "whsec_" + base64.b64encode(KEY).decode()})
        assert invoke(message(*sent)) == {"batchItemFailures": []}
    assert sorted(bodies(peer), key=lambda each: each["id"]) == sorted(sent, key=lambda each: str(each["id"]))
    assert {state(dynamodb, f"order-{n}") for n in range(30)} == {"delivered"}
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signature = base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_every_way_out_of_a_bundle_at_once(env: Settings, secrets: Any, dynamodb: Any, sqs: Any) -> None:
    put_consent(dynamodb, "nobody", opted_out=True)
    with listening(refusing("refused")) as peer:
        configure(secrets, env, {"url": peer.url})
        assert invoke(
            message(
                notification("sent"),
                notification("refused"),
                notification("opted-out", category="advertising", address="nobody"),
                notification("expired", expires_at=now(-0.5)),
                notification("by-sms", channel="sms", address="+821012345678"),
                {"id": "no-notification"},
                queue="schedule",
            )
        ) == {"batchItemFailures": []}
    assert {id: state(dynamodb, id) for id in ("sent", "refused", "opted-out", "expired", "by-sms")} == {
        "sent": "delivered",
        "refused": "dead_lettered",
        "opted-out": "opted_out",
        "expired": "expired",
        "by-sms": "claimed",
    }
    letters = {text_attributes(each)["notification_id"]: each for each in take(sqs, env.dead_letter_queue_url)}
    assert letters.keys() == {"refused", "no-notification"}
    assert text_attributes(letters["refused"])["reason"] == "http_400: the webhook answered 400"
    assert delayed(sqs, env.schedule_queue_url) == 1, "a channel without settings rests"


def test_at_night_an_advertisement_goes_to_the_wait_queue(
    env: Settings, secrets: Any, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute_of_day = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    monkeypatch.setenv("QUIET_HOURS_START", f"{minute_of_day[0]:%H:%M}")
    monkeypatch.setenv("QUIET_HOURS_END", f"{minute_of_day[1]:%H:%M}")
    monkeypatch.setenv("QUIET_HOURS_TIMEZONE", "UTC")
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        invoke(message(notification("ad", category="advertising"), notification("order")))
    assert [each["id"] for each in bodies(peer)] == ["order"]
    assert [each["id"] for each in take_notifications(sqs, env.wait_queue_url)] == ["ad"]


def test_each_invocation_owns_its_claims(env: Settings, secrets: Any, dynamodb: Any, sqs: Any) -> None:
    other = Ledger(dynamodb, env.ledger_table, "another request", timedelta(minutes=2))
    other.claim({"taken": None}, datetime.now(UTC))
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        assert invoke(message(notification("taken"))) == {"batchItemFailures": []}
    assert (peer.requests, state(dynamodb, "taken")) == ([], "claimed")


def test_what_one_invocation_left_undone_the_next_does_not_take_for_its_own(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any) -> None:
        raise LedgerUnavailable

    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        with monkeypatch.context() as first:
            first.setattr(Ledger, "delivered", down)
            assert invoke(message(notification("a"), message_id="m")) == {
                "batchItemFailures": [{"itemIdentifier": "m"}]
            }
        assert invoke(message(notification("a"), message_id="m")) == {"batchItemFailures": []}
    assert (len(peer.requests), state(dynamodb, "a")) == (1, "claimed")


def test_a_lane_s_trouble_is_reported_for_its_record_alone(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any
) -> None:
    sqs.delete_queue(QueueUrl=env.dead_letter_queue_url)
    with listening(refusing("refused")) as peer:
        configure(secrets, env, {"url": peer.url})
        answer = invoke(
            message(notification("refused"), message_id="first"), message(notification("sent"), message_id="second")
        )
    assert answer == {"batchItemFailures": [{"itemIdentifier": "first"}]}
    assert state(dynamodb, "sent") == "delivered"


def test_a_receiver_that_is_down_leaves_the_channel_resting_for_the_next_invocation_too(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(refusing("first", status=503)) as peer:
        configure(secrets, env, {"url": peer.url})
        invoke(message(notification("first")))
        invoke(message(notification("second")))
        fresh_process(monkeypatch, sqs, dynamodb)
        invoke(message(notification("third")))
        assert [each["id"] for each in bodies(peer)] == ["first"]
        assert delayed(sqs, env.delivery_queue_url) == 3
        end_rests(dynamodb, monkeypatch)
        invoke(message(notification("fourth")))
    assert state(dynamodb, "fourth") == "delivered"


@dataclass
class FrozenAt:
    """Stands for `datetime` where a library asks it for the time."""

    at: datetime

    def now(self, *_: Any) -> datetime:
        return self.at


def test_the_secret_is_read_once_a_minute_at_most_and_then_anew(
    env: Settings, secrets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []

    def note(**_: Any) -> None:
        reads.append("read")

    secrets.meta.events.register("before-call.secretsmanager.GetSecretValue", note)
    with listening(answering(OK)) as first, listening(answering(OK)) as second:
        configure(secrets, env, {"url": first.url})
        invoke(message(notification("a")))
        configure(secrets, env, {"url": second.url})
        invoke(message(notification("b")))
        assert (len(reads), len(first.requests)) == (1, 2)
        later = datetime.now() + timedelta(seconds=60)  # noqa: DTZ005  as the library does
        monkeypatch.setattr("aws_lambda_powertools.utilities.parameters.base.datetime", FrozenAt(later))
        invoke(message(notification("c")))
    secrets.meta.events.unregister("before-call.secretsmanager.GetSecretValue", note)
    assert (len(reads), len(first.requests), len(second.requests)) == (2, 2, 1)


def test_refused_credentials_are_read_again_by_the_next_bundle(
    env: Settings, secrets: Any, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the minute: whoever has just changed them does not wait for it."""
    with listening(refusing("a", status=401)) as peer, listening(answering(OK)) as other:
        configure(secrets, env, {"url": peer.url})
        invoke(message(notification("a")))
        configure(secrets, env, {"url": other.url})
        end_rests(dynamodb, monkeypatch)
        invoke(message(notification("b")))
    assert (len(peer.requests), len(other.requests)) == (1, 1)
    assert (state(dynamodb, "a"), state(dynamodb, "b")) == ("claimed", "delivered")


def test_a_channel_is_built_again_only_when_its_configuration_changes(env: Settings, secrets: Any) -> None:
    configure(secrets, env, {"url": "https://hooks.example.com/"})
    built = worker._channel(env, "webhook")
    assert worker._channel(env, "webhook") is built
    configure(secrets, env, {"url": "https://hooks.example.com/", "rate_per_s": 5})
    worker._clients()[2].clear_cache()
    assert worker._channel(env, "webhook").rate_per_s == 5


def restrict(env: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in replace(env, recipients="listed").to_env().items():
        monkeypatch.setenv(name, value)


def test_a_restricted_deployment_calls_only_who_is_listed(
    env: Settings, secrets: Any, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restrict(env, monkeypatch)
    with listening(answering(OK)) as peer:
        parts = {"webhook": {"url": peer.url}, "recipients": {"addresses": ["tester-1"]}}
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=json.dumps(parts))
        invoke(message(notification("a", address="tester-1")))
        invoke(message(notification("b", address="user-42")))
        invoke(message(notification("c", address="success@simulated.invalid")))
        assert [json.loads(each.partition(b"\r\n\r\n")[2])["id"] for each in peer.requests] == ["a"]
    assert [state(dynamodb, id) for id in "abc"] == ["delivered", "not_in_allow_list", "delivered"]


def test_a_change_of_the_list_counts_without_a_deployment(
    env: Settings, secrets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: dict[str, Any] = {"webhook": {"url": "https://hooks.example.com/"}}
    answers = []
    for addresses in ([], ["user-42"]):
        parts["recipients"] = {"addresses": addresses}
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=json.dumps(parts))
        worker._clients()[2].clear_cache()
        monkeypatch.setattr(WebhookChannel, "send", lambda _, notifications: [DELIVERED] * len(notifications))
        channel = worker._channel(replace(env, recipients="listed"), "webhook")
        answers += channel.send([notification("a")])
    assert answers == [NOT_LISTED, DELIVERED]


def test_without_the_restriction_neither_list_nor_simulated_addresses_mean_anything(
    env: Settings, secrets: Any, dynamodb: Any
) -> None:
    """A simulated address would otherwise be a way to swallow what a production deployment sends."""
    with listening(answering(OK)) as peer:
        parts = {"webhook": {"url": peer.url}, "recipients": {"addresses": ["tester-1"]}}
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=json.dumps(parts))
        invoke(message(notification("a", address="user-42")))
        invoke(message(notification("b", address="failure@simulated.invalid")))
        assert [json.loads(each.partition(b"\r\n\r\n")[2])["id"] for each in peer.requests] == ["a", "b"]
    assert [state(dynamodb, id) for id in "ab"] == ["delivered", "delivered"]


def test_the_log_channel_reaches_nobody_so_nobody_needs_to_be_listed_for_it(
    env: Settings, secrets: Any, dynamodb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    restrict(env, monkeypatch)
    invoke(message(notification("logged", channel="log")))
    assert state(dynamodb, "logged") == "delivered"


def test_the_log_channel_needs_no_secret(env: Settings, secrets: Any, dynamodb: Any) -> None:
    secrets.delete_secret(SecretId=env.channel_secret, ForceDeleteWithoutRecovery=True)
    invoke(message(notification("logged", channel="log")))
    assert state(dynamodb, "logged") == "delivered"


@pytest.mark.parametrize("secret", [None, "not JSON", '["webhook"]', "7"])
def test_a_secret_that_cannot_be_used_gives_everything_back_and_loses_nothing(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any, secret: str | None
) -> None:
    if secret is None:
        secrets.delete_secret(SecretId=env.channel_secret, ForceDeleteWithoutRecovery=True)
    else:
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=secret)
    assert invoke(message(notification("kept"))) == {"batchItemFailures": []}
    assert state(dynamodb, "kept") == "None"
    assert delayed(sqs, env.delivery_queue_url) == 1


def test_a_secret_that_was_mended_is_used_after_the_rest(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole secret was replaced, and one channel's part was forgotten: it costs time only."""
    secrets.put_secret_value(SecretId=env.channel_secret, SecretString='{"slack": {"token": "xoxb-1"}}')
    assert invoke(message(notification("kept"))) == {"batchItemFailures": []}
    assert take(sqs, env.dead_letter_queue_url) == []
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        end_rests(dynamodb, monkeypatch)
        assert invoke(message(notification("kept"))) == {"batchItemFailures": []}
    assert state(dynamodb, "kept") == "delivered"


# --- what is logged


@pytest.fixture
def everything_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], str]:
    """All that was printed or logged, by us or a library. The logger's own stream is from before the test."""
    caplog.set_level(logging.INFO)
    lines = io.StringIO()
    monkeypatch.setattr(worker.logger.registered_handler, "stream", lines)

    def text() -> str:
        printed = capfd.readouterr()
        return lines.getvalue() + printed.out + printed.err + caplog.text

    return text


def test_no_log_line_shows_who_is_listed_or_who_is_not(
    env: Settings,
    secrets: Any,
    dynamodb: Any,
    monkeypatch: pytest.MonkeyPatch,
    everything_logged: Callable[[], str],
) -> None:
    restrict(env, monkeypatch)
    parts = {"recipients": {"addresses": ["canary-listed", "010-9999-123"]}}
    for addresses in (["canary-listed"], ["canary-listed", "010-9999-123"]):
        parts["recipients"]["addresses"] = addresses
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=json.dumps(parts))
        worker._clients()[2].clear_cache()
        end_rests(dynamodb, monkeypatch)
        invoke(message(notification("a", address="canary-unlisted")))
        invoke(message(notification("b", address="canary-listed")))
    logged = everything_logged()
    assert '"not_in_allow_list":1' in logged and '"misconfigured":1' in logged
    assert "canary" not in logged and "9999" not in logged


def canary(id: str, **fields: Any) -> dict[str, Any]:
    given = {
        "channel": "webhook",
        "address": "canary-address",
        "recipient_id": "010-9999-1234",
        "source": "canary-source",
        "content": {"title": "canary-title", "body": "canary 010-9999-1234", "variables": {"canary": "canary"}},
        "metadata": {"canary": "canary"},
    }
    return notification(id, **(given | fields))


def test_no_log_line_shows_what_is_in_a_notification(
    env: Settings, secrets: Any, sqs: Any, everything_logged: Any
) -> None:
    """Delivered, refused, expired, unreadable, of an unknown field or channel: ids and counts, never content."""
    with listening(refusing("refused")) as peer:
        configure(secrets, env, {"url": f"{peer.url}&key=canary", "secret": base64.b64encode(b"canary" * 4).decode()})
        invoke(
            message(
                canary("sent"),
                canary("refused"),
                canary("expired", expires_at=now(-0.5)),
                canary("logged", channel="log"),
                canary("by-sms", channel="sms", address="010-9999-1234"),
                canary("odd", canary="canary"),
                canary("bad-address", channel="sms", address="canary 99991234"),
            )
        )
        invoke(record("canary 010-9999-1234", queue="delivery"))
    logged = everything_logged()
    assert '"message":"bundle"' in logged
    assert '"delivered":2' in logged
    assert not [each for each in CANARIES if each in logged]


def test_nor_does_one_about_any_provider_whatever_it_answers(
    env: Settings, secrets: Any, dynamodb: Any, sqs: Any, everything_logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them takes one, refuses one, fails, is too busy, and loses an answer."""
    device = "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/shop/00000000-0000-4000-8000-0000000canary"
    addresses = {
        "kakao": "010-9999-1234",
        "sms": "010-9999-1234",
        "email": "canary@example.com",
        "push": device.replace("canary", "99991234"),
        "slack": "#canary",
        "webhook": "canary",
    }
    monkeypatch.setattr(worker, "_channel_client", aws_client)
    with fakes() as running:
        secrets.put_secret_value(SecretId=env.channel_secret, SecretString=json.dumps(channel_secret(running.url)))
        rules = [{}, {"refuse": True}, {"status": 500}, {"hang_up": True}, {"status": 429}]
        for number, rule in enumerate(rules):
            running.rules(rule)
            end_rests(dynamodb, monkeypatch)
            for name, address in addresses.items():
                content = {"title": "canary-title", "body": "canary 010-9999-1234"}
                if name == "kakao":
                    content["template"] = "canary"
                fields: dict[str, Any] = {"channel": name, "address": address, "content": content}
                invoke(message(canary(f"{name}-{number}", **fields)))
        assert {state(dynamodb, f"{name}-0") for name in addresses} == {"delivered"}
        assert {state(dynamodb, f"{name}-1") for name in addresses} == {"dead_lettered"}
        assert {state(dynamodb, f"{name}-3") for name in addresses if name != "webhook"} == {"unknown"}
        assert {state(dynamodb, f"{name}-4") for name in addresses} == {"claimed"}
    reasons = [text_attributes(each)["reason"] for each in take(sqs, env.dead_letter_queue_url)]
    assert len(reasons) > 10
    logged = everything_logged() + "".join(reasons)
    assert not [each for each in CANARIES if each in logged]


@pytest.mark.parametrize(
    "broken",
    [
        "lambdas.quiet_hours.delivery.delivery.decide",
        "lambdas.quiet_hours.delivery.aftermath.send",
        "lambdas.quiet_hours.stores.ledger.Ledger.claim",
    ],
)
def test_no_exception_shows_it_either(
    env: Settings, secrets: Any, everything_logged: Any, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever a library puts into its message: Lambda prints what a handler raises."""

    def fault(*_: Any, **__: Any) -> Any:
        raise ValueError("canary 010-9999-1234")

    monkeypatch.setattr(broken, fault)
    configure(secrets, env, {"url": "https://hooks.example.com/"})
    with pytest.raises(HandlerFailed) as failed:
        invoke(message(canary("a")))
    assert str(failed.value) == "ValueError"
    assert failed.value.__suppress_context__
    logged = everything_logged()
    assert '"error":"ValueError"' in logged
    assert "deliver:" in logged
    assert not [each for each in CANARIES if each in logged]


def test_nor_does_a_fault_in_a_channel_s_code(
    env: Settings, secrets: Any, everything_logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: Any) -> Any:
        raise ValueError("canary 010-9999-1234")

    monkeypatch.setattr(WebhookChannel, "send", fault)
    configure(secrets, env, {"url": "https://hooks.example.com/"})
    assert invoke(message(canary("a"))) == {"batchItemFailures": []}
    logged = everything_logged()
    assert '"unknown: webhook channel_error":1' in logged
    assert not [each for each in CANARIES if each in logged]


def test_the_log_says_what_came_of_a_bundle_and_why(
    env: Settings, secrets: Any, sqs: Any, everything_logged: Any
) -> None:
    with listening(refusing("away", status=503)) as peer:
        configure(secrets, env, {"url": peer.url})
        invoke(message(notification("away"), queue="schedule"))
    line = next(json.loads(line) for line in everything_logged().splitlines() if line.startswith('{"level"'))
    assert {name: line[name] for name in line if name not in LOGGED_ALWAYS} == {
        "lane": "schedule",
        "settled": True,
        "given_back": 1,
        "unavailable": 1,
        "misconfigured": 0,
        "rested": 1,
        "rest_s": 5,
        "unavailable: webhook http_503": 1,
    }


def bundle_line(logged: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith('{"level"')]
    (line,) = [line for line in lines if line["message"] == "bundle"]
    return dict(line)


@pytest.mark.parametrize("cause", ["no settings", "no secret", "credentials", "permission"])
def test_the_log_says_what_only_an_operator_can_mend(
    env: Settings, secrets: Any, dynamodb: Any, everything_logged: Any, cause: str
) -> None:
    """An alarm is made of this count."""
    with listening(refusing("a", status={"credentials": 401, "permission": 403}.get(cause, 200))) as peer:
        configure(secrets, env, {} if cause == "no settings" else {"url": peer.url})
        if cause == "no secret":
            secrets.delete_secret(SecretId=env.channel_secret, ForceDeleteWithoutRecovery=True)
        invoke(message(notification("a")))
    line = bundle_line(everything_logged())
    assert (line["misconfigured"], line["unavailable"], line["given_back"]) == (1, 1, 1)


def test_the_log_says_how_long_a_critical_one_has_waited_for_its_call(
    env: Settings, secrets: Any, everything_logged: Any
) -> None:
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        critical = notification("code", category="critical", accepted_at=now(-0.5))
        invoke(message(critical, notification("order"), queue="urgent"))
    line = bundle_line(everything_logged())
    assert (line["lane"], line["delivered"], line["moved"]) == ("urgent", 1, 1)
    assert 30 <= line["urgent_wait_s"] < 40


def test_without_a_critical_call_no_wait_is_logged(env: Settings, secrets: Any, everything_logged: Any) -> None:
    with listening(answering(OK)) as peer:
        configure(secrets, env, {"url": peer.url})
        invoke(message(notification("order")))
    line = bundle_line(everything_logged())
    assert "urgent_wait_s" not in line
    assert "rest_s" not in line


def test_the_worker_hands_over_what_the_environment_says(
    env: Settings, secrets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Delivery] = []

    def deliver(self: Delivery, _: Any) -> Any:
        seen.append(self)
        return Delivered(True, Counter())

    monkeypatch.setattr(Delivery, "deliver", deliver)
    invoke(message(notification("a")))
    (delivery,) = seen
    assert delivery.settings == env
    assert delivery.policy == env.quiet_hours()
    assert delivery.side_by_side is in_threads
    assert delivery.memory is worker._memory
    assert 0 < delivery.remaining_s() <= WORKER_TIMEOUT_S
    assert abs((delivery.now() - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.filterwarnings("error")
def test_its_clients_give_up_while_there_is_time_to_hand_back(settings: Settings) -> None:
    """And the process's memory of them is one for all invocations."""
    worker._clients.cache_clear()
    clients = worker._clients()
    worker._clients.cache_clear()
    assert worker._clients.cache_info().maxsize is None
    for client in (clients[0], clients[1], clients[2].client):
        config = client.meta.config
        attempts = config.retries["total_max_attempts"]
        assert attempts * (config.connect_timeout + config.read_timeout) < WORKER_TIMEOUT_S / 2
