"""A source with a schedule of its own on the embedded AWS: its function asks the user's, and the digest is delivered.

Shows R6.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.order_digest import digest
from infra import asset
from lambdas.source import VARIABLE
from tests.helpers.pipeline import Pipeline

THEIRS, OURS = "order-digest", "order-digest-source"
SLOT = {"scheduled_at": "2020-11-12T01:00:00Z"}
IDS = "source:OrderDigest:2020-11-12T10:00:"


def zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(folder))
    return file.getvalue()


@pytest.fixture
def source(pipeline: Pipeline) -> Iterator[Pipeline]:
    """Both functions, as the stack would make them."""
    producer = pipeline.outputs["ProducerFunctionName"]
    found = pipeline.lambda_.get_function_configuration(FunctionName=producer)
    like = {name: found[name] for name in ("Role", "Runtime", "MemorySize")}

    def create(name: str, folder: Path, handler: str, **options: Any) -> str:
        code = {"ZipFile": zipped(folder)}
        made = pipeline.lambda_.create_function(FunctionName=name, Code=code, Handler=handler, **like, **options)
        return str(made["FunctionArn"])

    function = create(THEIRS, Path(digest.__file__).parent, "digest.handler", Timeout=60)
    described = {"name": digest.NAME, "times": digest.TIMES, "timezone": digest.TIMEZONE, "function": function}
    variables = found["Environment"]["Variables"] | {VARIABLE: json.dumps(described)}
    create(OURS, asset.build(), "lambdas.source.handler", Timeout=900, Environment={"Variables": variables})
    yield pipeline
    for name in (THEIRS, OURS):
        pipeline.lambda_.delete_function(FunctionName=name)


def start(pipeline: Pipeline) -> dict[str, Any]:
    answer = pipeline.lambda_.invoke(FunctionName=OURS, Payload=json.dumps(SLOT).encode())
    said = json.load(answer["Payload"])
    assert "FunctionError" not in answer, said
    return dict(said)


def test_r6_the_order_digest_of_ten_o_clock_is_delivered_once_however_often_it_is_started(source: Pipeline) -> None:
    ran = {"until": "2020-11-12T10:00:00+09:00", "accepted": 2, "invalid": 0}
    assert start(source) == ran

    def delivered() -> list[str]:
        return [arrival.id for arrival in source.received() if arrival.id.startswith(IDS)]

    source.wait_until(lambda: len(delivered()) == 2)
    assert start(source) == ran
    source.settle()
    assert len(delivered()) == len(set(delivered())) == 2
