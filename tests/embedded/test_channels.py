"""SES and SNS on the embedded AWS, which is nobody's fake of ours. It has no AWS End User Messaging."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambdas.quiet_hours.channels.channel import DELIVERED
from lambdas.quiet_hours.channels.ses import SesChannel
from lambdas.quiet_hours.channels.sns import SnsChannel
from local import server
from local.aws import client
from tests.helpers.fake_providers import aws_client, notification, now, send


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("embedded")
    embedded = server.start(server.free_port(), folder)
    yield embedded.endpoint
    embedded.stop()


def test_an_e_mail_reaches_ses(endpoint: str) -> None:
    client(endpoint, "sesv2").create_email_identity(EmailIdentity="shop@example.com")
    config = {"from": "온결 <shop@example.com>", "unsubscribe_url": "https://e.com/{id}", "endpoint_url": endpoint}
    content = {"title": "(광고) 겨울 세일", "body": "무료 수신거부"}
    given = notification("email", "sale:42", "user@example.com", content, category="advertising")
    assert send(SesChannel(config, aws_client), given) == [DELIVERED]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/_ministack/ses/messages?account=000000000000", timeout=10) as answer:
        text = json.dumps(json.load(answer), ensure_ascii=False)
    assert "(광고) 겨울 세일" in text and "user@example.com" in text


def test_a_push_to_an_endpoint_that_is_not_there_is_refused(endpoint: str) -> None:
    """One that is there has another ARN here than AWS gives it: tests/test_channel_aws.py asks moto for one."""
    address = "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/shop/0a1b2c3d-0000-4000-8000-00000000beef"
    given = notification("push", "a", address, {"body": "안녕하세요"})
    (outcome,) = send(SnsChannel({"endpoint_url": endpoint}, now, aws_client), given)
    assert (outcome.kind, outcome.reason) == ("rejected", "aws_NotFound: SNS answered 404 NotFound")
