"""The producers of examples/producers, each run as its users run it: what it asks for is delivered, or held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from local.aws import shell_environment
from tests.helpers.pipeline import Pipeline

FRAMEWORKS = ROOT / ".venv-producers" / "bin" / "python"
NODE = Path(sys.executable).with_name("node")
JAVASCRIPT = ROOT / "examples" / "producers" / "javascript"

DJANGO = """
import sys
import django
from django.conf import settings
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()

from django.db import transaction
from examples.producers.django_shop import notify_paid

paid, rolled_back, customer = sys.argv[1:]
try:
    with transaction.atomic():
        notify_paid(rolled_back, customer)
        raise LookupError
except LookupError:
    pass
with transaction.atomic():
    notify_paid(paid, customer)
"""

FASTAPI = """
import json, sys
from fastapi.testclient import TestClient
from examples.producers.fastapi_shop import app

answers = [TestClient(app).post(f"/coupons/{coupon}", params={"customer": "user-1"}) for coupon in sys.argv[1:]]
print(json.dumps([[answer.status_code, answer.json()] for answer in answers]))
"""


def run(pipeline: Pipeline, *command: str | Path, folder: Path = ROOT, **changed: str) -> str:
    """Run a producer's own process with what a deployment tells it, and return what it prints."""
    names = {
        "NOTIFICATION_QUEUE_URL": pipeline.outputs["NotificationQueueUrl"],
        "PRODUCER_FUNCTION_NAME": pipeline.outputs["ProducerFunctionName"],
        "EVENT_BUS_NAME": pipeline.outputs["EventBusName"],
    }
    assert Path(command[0]).exists(), "this producer's framework is not installed: `make test-slow` installs it"
    env = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), **shell_environment(pipeline.endpoint), **names, **changed}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def delivered(pipeline: Pipeline, id: str) -> dict[str, Any]:
    """Wait for a notification at the provider, and return it."""
    pipeline.wait_until(lambda: pipeline.accepted(id), what=f"{id} is delivered")
    (arrival,) = pipeline.received(id)
    return dict(json.loads(arrival.body))


def test_plain_boto3_sends_to_the_queue(pipeline: Pipeline) -> None:
    order = pipeline.new_id()
    code = f"from examples.producers import plain_boto3 as s; s.notify_paid('{order}', 'user-1')"
    run(pipeline, sys.executable, "-c", code)
    assert delivered(pipeline, f"order-{order}:paid")["address"] == "user-1"


def test_eventbridge_passes_on_an_event_whose_advertising_is_held_at_night(pipeline: Pipeline) -> None:
    pipeline.night()
    item = pipeline.new_id()
    code = f"from examples.producers import event_bridge as s; s.announce_restock('{item}', 'user-1')"
    run(pipeline, sys.executable, "-c", code)
    id = f"restock-{item}:user-1"
    pipeline.wait_until(lambda: id in pipeline.ids_on("Wait"))
    assert pipeline.received(id) == []


@pytest.mark.slow
def test_django_sends_when_the_transaction_is_committed_and_not_when_it_is_rolled_back(pipeline: Pipeline) -> None:
    paid, rolled_back = pipeline.new_id(), pipeline.new_id()
    run(pipeline, FRAMEWORKS, "-c", DJANGO, paid, rolled_back, "user-1")
    assert delivered(pipeline, f"order-{paid}:paid")["category"] == "informational"
    pipeline.settle()
    assert pipeline.received(f"order-{rolled_back}:paid") == []


@pytest.mark.slow
def test_fastapi_answers_what_becomes_of_each_coupon(pipeline: Pipeline) -> None:
    pipeline.night()
    coupon, too_long = pipeline.new_id(), "x" * 200
    held, refused = json.loads(run(pipeline, FRAMEWORKS, "-c", FASTAPI, coupon, too_long))
    status, answer = held
    assert (status, answer["id"], answer["decision"]) == (202, f"coupon-{coupon}:user-1", "hold")
    assert answer["until"] is not None
    status, answer = refused
    assert status == 422
    assert answer["detail"]["rejected"][0]["errors"][0].startswith("id: ")
    pipeline.wait_until(lambda: f"coupon-{coupon}:user-1" in pipeline.ids_on("Wait"))


@pytest.mark.slow
def test_fastapi_answers_502_if_the_producer_fails(pipeline: Pipeline) -> None:
    """The alerter stands in for a producer that fails: it fails at an event that SNS has not sent."""
    name = pipeline.outputs["AlerterFunctionName"]
    ((status, answer),) = json.loads(run(pipeline, FRAMEWORKS, "-c", FASTAPI, "c", PRODUCER_FUNCTION_NAME=name))
    assert status == 502
    assert "errorType" in answer["detail"]


@pytest.mark.slow
def test_a_javascript_service_sends_to_the_queue(pipeline: Pipeline) -> None:
    assert (JAVASCRIPT / "node_modules").exists(), "the AWS SDK is not installed: `make test-slow` installs it"
    order = pipeline.new_id()
    code = f'import {{ notifyPaid }} from "./shop.js"; await notifyPaid("{order}", "u");'
    run(pipeline, NODE, "--input-type=module", "--eval", code, folder=JAVASCRIPT)
    arrived = delivered(pipeline, f"order-{order}:paid")
    assert arrived["content"]["body"] == f"주문 {order}의 결제가 완료되었습니다."
