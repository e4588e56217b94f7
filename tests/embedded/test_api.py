"""Both Function URLs on the embedded AWS: a held notification is queried and cancelled, and a consent counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from urllib3 import PoolManager

from local.aws import ACCESS_KEY, REGION
from tests.helpers.notifications import advertising
from tests.helpers.pipeline import Pipeline

SWITCH = "QUIET_HOURS_RECORD_HELD"


def ask(pipeline: Pipeline, function: str, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """A signed request, to the address at which the embedded AWS listens."""
    url = pipeline.outputs[f"{function}Url"].rstrip("/") + path
    data = None if body is None else json.dumps(body)
    request = AWSRequest(method, url, data=data, headers={"host": url.split("/")[2]})
    SigV4Auth(Credentials(ACCESS_KEY, ACCESS_KEY), "lambda", REGION).add_auth(request)
    answer = PoolManager().request(method, pipeline.endpoint + path, body=data, headers=dict(request.headers))
    return answer.status, answer.json()


@pytest.fixture
def recording(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The pipeline with `recordHeld` on."""
    _record_held(pipeline, "True")
    yield pipeline
    _record_held(pipeline, "False")


def _record_held(pipeline: Pipeline, value: str) -> None:
    for name in ("Producer", "Consumer"):
        function = pipeline.outputs[f"{name}FunctionName"]
        variables = pipeline.lambda_.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        assert SWITCH in variables
        pipeline.lambda_.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables | {SWITCH: value}}
        )


def test_what_is_held_is_explained_and_what_is_taken_back_is_never_sent(recording: Pipeline) -> None:
    pipeline = recording
    pipeline.night()
    one, two = pipeline.new_id("/a:b+c=d"), pipeline.new_id()
    path = f"/notifications/{quote(one, safe='')}"
    pipeline.produce(advertising(one, source="test-api"), advertising(two, source="test-api"))
    pipeline.wait_until(lambda: ask(pipeline, "Producer", "GET", path)[1]["state"] == "held")
    _, known = ask(pipeline, "Producer", "GET", path)
    assert known["id"] == one
    assert known["rule"]["decision"] == "hold"

    assert ask(pipeline, "Producer", "DELETE", path) == (200, {"id": one, "outcome": "cancelled", "state": "cancelled"})
    pipeline.wait_until(
        lambda: two in str(ask(pipeline, "Producer", "POST", "/notifications/cancel", {"source": "test-api"})[1])
    )
    pipeline.day()
    pipeline.release()
    pipeline.settle()
    assert pipeline.accepted(one, two) == []
    assert ask(pipeline, "Producer", "GET", path)[1]["state"] == "cancelled"


def test_a_consent_of_the_registrar_counts(pipeline: Pipeline) -> None:
    recipient = pipeline.new_id("/x@y")
    path = f"/consents/{quote(recipient, safe='')}"
    said = {"night_consent": True, "opted_out": True, "evidence": "a test"}
    assert ask(pipeline, "Registrar", "PUT", path, said)[0] == 200
    status, kept = ask(pipeline, "Registrar", "GET", path)
    assert (status, kept["recipient_id"], len(kept["history"])) == (200, recipient, 1)
    id = pipeline.new_id()
    pipeline.produce(advertising(id, recipient_id=recipient))
    pipeline.settle()
    assert pipeline.accepted(id) == []
    assert ask(pipeline, "Producer", "GET", f"/notifications/{id}")[1]["state"] == "opted_out"
