"""The search for canaries finds them in every form, and nothing that a clock, a counter or an id generator makes."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from uuid import UUID

import pytest

from tests.helpers.leaks import E164, EMAIL, PHONE, TEXT, leaks, logged

LINES = 5000


def made_lines(rng: Random) -> list[str]:
    """Log lines as the functions and Lambda print them, with nothing in them that somebody sent."""
    at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=rng.randrange(40 * 365 * 86_400_000))
    request_id = str(UUID(int=rng.getrandbits(128)))
    count = rng.choice((7936, 9485, rng.randrange(10_000), rng.randrange(10**7)))
    ms = rng.random() * 10_000
    line = {
        "level": "INFO",
        "message": "bundle",
        "timestamp": at.isoformat(timespec="milliseconds"),
        "function_request_id": request_id,
        "xray_trace_id": f"1-{rng.getrandbits(32):08x}-{rng.getrandbits(96):024x}",
        "sent_at": str(int(at.timestamp() * 1000)),
        "source": sha256(request_id.encode()).hexdigest(),
        "items": count,
        "took_ms": ms,
        "outcomes": {"delivered": count, "unknown: webhook no_answer": 1},
    }
    return [
        json.dumps(line),
        f"REPORT RequestId: {request_id}\tDuration: {ms:.2f} ms\tBilled Duration: {ms / 1000:.4f} s",
        f"{at:%Y-%m-%d %H:%M:%S,%f} INFO 127.0.0.1:{rng.randrange(20_000, 65_536)} {at.timestamp():.6f} {request_id}",
        f'  File "/var/task/lambdas/worker.py", line {count}, in handler',
    ]


def test_no_clock_count_or_id_looks_like_a_canary() -> None:
    rng = Random(0)
    assert leaks("\n".join(line for _ in range(LINES) for line in made_lines(rng))) == []


@pytest.mark.parametrize(
    "line",
    [
        f'{{"sent_at": "{1_791_079_369_485}", "items": 9485, "bytes": 7936, "took_ms": 9485}}',
        f'{{"created": {1_791_079_369_485}}}',
        "1791079369.485123 started",
        "2027-09-04T09:48:57.936948 started",
        "id 79369485-9485-4936-9485-107936948510",
        "id 00000000-0000-4000-8000-107936948510",
        '{"hash": "00a110793694850000009485ffff"}',
        'File "worker.py", line 9485, in handler',
        "http://127.0.0.1:9485/",
    ],
)
def test_a_clock_a_count_or_an_id_with_the_very_digits_is_no_canary(line: str) -> None:
    assert leaks(line) == []


@pytest.mark.parametrize(
    ("text", "canary"),
    [
        *((phone, "phone") for phone in (PHONE, E164, "01079369485", "821079369485", "1079369485", "+82-10-7936-9485")),
        *((phone, "phone") for phone in ("+82 10 7936 9485", "(010) 7936-9485", "010.7936.9485")),
        *((part, "part of phone") for part in ("***-****-9485", "010-7936-****", "+8210XXXX9485", "…9485", "9485")),
        (EMAIL, "mail"),
        (EMAIL.replace("@", "%40"), "mail"),
        (TEXT, "text"),
        (json.dumps(TEXT), "text"),
    ],
)
def test_a_canary_is_found_in_every_form(text: str, canary: str) -> None:
    for line in (f"cannot send to {text}: x", json.dumps({"address": text}), json.dumps([{"a": {f"to {text}": 9}}])):
        (found,) = leaks(f"before\n{line}\nafter")
        assert found == f"{canary}: {line}"


def test_a_phone_number_that_is_printed_as_a_number_is_found() -> None:
    assert leaks('{"address": 1079369485}') == ['phone: {"address": 1079369485}']


def test_of_a_log_record_only_what_it_says_is_searched() -> None:
    fields = {"to": PHONE, "thread": 9485, "created": 1_791_079_369.485}
    record = logging.makeLogRecord({"msg": "sent to %s", "args": (EMAIL,), **fields})
    line = logged([record])
    assert "thread" not in line
    assert [each.partition(":")[0] for each in leaks(line)] == ["mail", "phone"]
