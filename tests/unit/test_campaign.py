"""The campaign: a file in the bucket becomes notifications, each row by itself, in as many runs as it takes."""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas import campaign
from lambdas.campaign import AGAIN_AT_ONCE_S, AGAIN_LATER_S, Campaign
from lambdas.quiet_hours.files.judging import ROW_SHOWN_CHARACTERS
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS, Settings
from lambdas.quiet_hours.stores.depth import DEEP
from lambdas.quiet_hours.timings import CAMPAIGN_TIMEOUT_S
from tests.helpers.aws import (
    DAY,
    Faulty,
    aws,
    depths,
    dynamodb,
    fail,
    record,
    refuse,
    settings,
    sqs,
    take_notifications,
)

__all__ = ["dynamodb", "settings", "sqs"]

BUCKET = "quiethours-campaigns"
KEY = "campaigns/spring.csv"
HEADER = "channel,address,id,body\n"
CANARY = "01012345678"
REPORT_KEY = f"{CAMPAIGN_REPORTS}{KEY}.report.json"
REJECTED_KEY = f"{CAMPAIGN_REPORTS}{KEY}.rejected.jsonl"


@pytest.fixture
def s3(sqs: Any) -> Any:
    client = aws("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    return client


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "ROWS_A_BATCH", 10)


@pytest.fixture
def drop(s3: Any, sqs: Any, settings: Settings) -> Any:
    """Put a file into the bucket; returns what works on it."""

    def call(text: str | bytes, key: str = KEY) -> Campaign:
        body = text if isinstance(text, bytes) else text.encode()
        etag = s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')
        return Campaign(s3, sqs, settings, BUCKET, key, etag, len(body))

    return call


def table(rows: int, start: int = 0) -> str:
    return HEADER + "".join(f"sms,{CANARY},n-{n:05},(광고) 봄 세일 {n}\n" for n in range(start, start + rows))


def run(campaign: Campaign, left_s: Any = lambda: 300.0) -> int | None:
    return campaign.go_on(lambda: DAY, left_s)


def written(s3: Any, key: str) -> Any:
    return s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()


def report(s3: Any, key: str = KEY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(written(s3, CAMPAIGN_REPORTS + key + ".report.json"))
    return found


def rejected(s3: Any, key: str = KEY) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(s3, CAMPAIGN_REPORTS + key + ".rejected.jsonl").splitlines()]


def digest_of(text: str) -> str:
    """The digest of a file of one part."""
    return sha256(bytes(32) + text.encode()).hexdigest()


def keys(s3: Any) -> list[str]:
    return sorted(each["Key"] for each in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []))


def ids(sqs: Any, settings: Settings) -> list[str]:
    return [each["id"] for each in take_notifications(sqs, settings.notification_queue_url)]


# --- rows


def test_the_rows_are_accepted_packed_and_reported(s3: Any, sqs: Any, settings: Settings, drop: Any) -> None:
    dropped = drop(table(25))
    assert run(dropped) is None
    found = take_notifications(sqs, settings.notification_queue_url)
    assert [each["id"] for each in found] == [f"n-{n:05}" for n in range(25)]
    assert found[0] == {
        "channel": "sms",
        "address": "+821012345678",
        "id": "n-00000",
        "content": {"body": "(광고) 봄 세일 0"},
        "category": "advertising",
        "accepted_at": "2020-11-11T03:00:00.000+00:00",
        "expires_at": "2020-11-14T03:00:00.000+00:00",
    }
    assert report(s3) == {
        "etag": dropped.etag,
        "sequencer": "",
        "digest": digest_of(table(25)),
        "accepted": 25,
        "rejected": 0,
        "repeated_ids": 0,
        "repeated_addresses": 24,
        "repeats_counted_before_line": None,
        "rejected_rows": None,
        "error": None,
        "finished_at": "2020-11-11T03:00:00+00:00",
    }
    assert keys(s3) == [KEY, REPORT_KEY]


def waiting(dropped: Campaign, **faults: Any) -> tuple[Campaign, list[float]]:
    """A campaign whose calls of SQS fail, and how long it has waited."""
    pauses: list[float] = []
    return replace(dropped, sqs=Faulty(dropped.sqs, **faults), sleep=pauses.append), pauses


def test_rows_wait_while_the_notification_queue_is_deep(sqs: Any, settings: Settings, drop: Any) -> None:
    dropped, pauses = waiting(drop(table(25)), get_queue_attributes=depths(DEEP + 1, DEEP + 1, DEEP, DEEP + 1, 0))
    assert run(dropped) is None
    assert pauses == [1.0] * 3
    assert len(ids(sqs, settings)) == 25


def test_a_file_is_left_for_later_if_the_queue_stays_deep(sqs: Any, settings: Settings, drop: Any) -> None:
    dropped, pauses = waiting(drop(table(25)), get_queue_attributes=depths(0, DEEP + 1))
    assert run(dropped) == AGAIN_LATER_S
    assert sum(pauses) == 60 < CAMPAIGN_TIMEOUT_S / 2
    assert run(replace(dropped, sqs=sqs)) is None
    assert ids(sqs, settings) == [f"n-{n:05}" for n in range(25)]


def test_nobody_waits_for_room_when_time_is_short(drop: Any) -> None:
    dropped, pauses = waiting(drop(table(25)), get_queue_attributes=depths(DEEP + 1))
    assert run(dropped, lambda: campaign.STOP_BEFORE_S - 1) == AGAIN_LATER_S
    assert pauses == []


def test_a_depth_that_cannot_be_read_stops_nothing(sqs: Any, settings: Settings, drop: Any) -> None:
    """A role of an earlier version may not read it."""
    dropped, _ = waiting(drop(table(25)), get_queue_attributes=fail("AccessDeniedException"))
    assert run(dropped) is None
    assert len(ids(sqs, settings)) == 25


def test_rows_travel_in_bundles(sqs: Any, settings: Settings, drop: Any) -> None:
    run(drop(table(25)))
    names = ["ApproximateNumberOfMessages"]
    attributes = sqs.get_queue_attributes(QueueUrl=settings.notification_queue_url, AttributeNames=names)["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "3"


WRONG = {
    "channel": ("fax", "channel: must be one of kakao, "),
    "address": ("12", "address: must be a Korean number"),
    "category": ("spam", "category: must be one of advertising, "),
    "recipient_id": ("r" * 513, "recipient_id: must have 1 to 512 characters"),
    "id": ("no spaces", "id: must have 1 to 128 characters of A-Z"),
    "title": ("t" * 10_001, "content: title must have 1 to 10000 characters"),
    "body": ("b" * 10_001, "content: body must have 1 to 10000 characters"),
    "template": ("\x07", "content: template has a character that cannot be sent"),
    "expires_at": ("tomorrow", "expires_at: must be a time with an offset"),
    "source": ("s" * 129, "source: must have 1 to 128 characters"),
    "variables.name": ("\x07", "content: variables has a character that cannot be sent"),
    "metadata.order": ("m" * 2049, "metadata: must be at most 2048 bytes as JSON"),
}


def test_a_row_that_is_wrong_in_any_field_is_written_back_with_its_line_and_the_fields_name(
    s3: Any, sqs: Any, settings: Settings, drop: Any
) -> None:
    right = dict.fromkeys(WRONG, "") | {"channel": "sms", "address": CANARY, "body": "안녕"}
    names = list(right)
    lines = [",".join(names), ",".join(right.values())]
    lines += [",".join((right | {name: value}).values()) for name, (value, _) in WRONG.items()]
    assert run(drop("\n".join(lines))) is None

    found = rejected(s3)
    assert [each["line"] for each in found] == list(range(3, 3 + len(WRONG)))
    for each, (_, says) in zip(found, WRONG.values(), strict=True):
        assert len(each["errors"]) == 1 and each["errors"][0].startswith(says), each
    assert [each["row"] for each in found] == lines[2:]
    assert (report(s3)["accepted"], report(s3)["rejected"]) == (1, len(WRONG))
    assert report(s3)["rejected_rows"] == REJECTED_KEY
    assert len(ids(sqs, settings)) == 1


def test_what_has_expired_already_is_rejected(s3: Any, drop: Any) -> None:
    run(drop("channel,address,body,expires_at\nlog,me,hi,2020-11-11T00:00:00+00:00\n"))
    assert rejected(s3)[0]["errors"] == ["expires_at: has passed already"]


def test_json_lines_are_notifications_as_the_producer_takes_them(
    s3: Any, sqs: Any, settings: Settings, drop: Any
) -> None:
    good = {"channel": "log", "address": "me", "content": {"body": "안녕", "variables": {"n": 1}}}
    lines = [json.dumps(good), '{"channel": "log", "channel": "sms"}', json.dumps(good | {"night_consent": True}), "x"]
    assert run(drop("\n".join(lines), "campaigns/a.jsonl")) is None
    assert [each["content"] for each in take_notifications(sqs, settings.notification_queue_url)] == [good["content"]]
    found = {each["line"]: each["errors"] for each in rejected(s3, "campaigns/a.jsonl")}
    assert "notification: names a field twice" in found[2]
    assert found[3][0].startswith("night_consent: unknown field")
    assert found[4][0].startswith("row: not JSON")


@pytest.mark.parametrize(
    ("key", "body", "says"),
    [
        ("campaigns/list.xlsx", "PK", "must end in .csv or .jsonl"),
        ("campaigns/empty.csv", "", "the file is empty"),
        ("campaigns/a.csv", "phone,text\n010,hi\n", "phone is not a column (is that line missing, or are"),
        ("campaigns/b.csv", "01012345678,kim,hi\n", "(a name of 11 characters) is not a column"),
        ("campaigns/c.csv", "channel|address|body\n", "are its fields separated by another character"),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_not_tried_again(
    s3: Any, drop: Any, key: str, body: str, says: str
) -> None:
    assert run(drop(body, key)) is None
    assert says in report(s3, key)["error"]
    assert (report(s3, key)["accepted"], report(s3, key)["rejected"]) == (0, 0)


class LongFile:
    """A file of one line again and again, which does not stand in memory."""

    def __init__(self, line: bytes, number: int) -> None:
        self.line, self.left, self.rest = line, number, b""

    def read(self, size: int) -> bytes:
        while len(self.rest) < size and self.left:
            self.rest, self.left = self.rest + self.line, self.left - 1
        found, self.rest = self.rest[:size], self.rest[size:]
        return found


def test_long_rows_need_no_more_memory_than_many_short_ones(
    s3: Any, drop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hundred rows of 120 KB, each four times as large in memory as in the file, and all of them rejected."""
    monkeypatch.setattr(campaign, "ROWS_A_BATCH", 1_000)
    key = "campaigns/long.jsonl"
    line = to_text({"channel": "log", "address": "a", "content": {"body": "x" * 120_000 + "😀"}}).encode() + b"\n"

    def read(real: Any, **call: Any) -> Any:
        if call["Key"] != key:
            return real(**call)
        stream = LongFile(line, 300)
        return {"Body": SimpleNamespace(read=stream.read)}

    dropped = replace(drop("{}", key), s3=Faulty(s3, get_object=read), size=300 * len(line))
    gc.collect()
    gc.freeze()  # with the objects of all earlier tests, Python would collect garbage more seldom than a function does
    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # Python's own
    tracemalloc.start()
    try:
        assert run(dropped) is None
        peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
        gc.set_threshold(*thresholds)
        gc.unfreeze()
    assert report(s3, key)["rejected"] == 300
    assert {len(each["row"]) for each in rejected(s3, key)} == {ROW_SHOWN_CHARACTERS}
    assert peak_mib < 150, peak_mib


def test_the_example_of_the_docs_is_accepted_as_it_stands(s3: Any, sqs: Any, settings: Settings, drop: Any) -> None:
    doc = (Path(__file__).resolve().parent.parent.parent / "docs" / "campaigns.md").read_text()
    example = re.findall(r"^    ((?:channel|kakao|sms),.+)$", doc, re.MULTILINE)
    labelling = replace(settings, advertising_label=True)
    assert run(replace(drop("\n".join(example)), settings=labelling)) is None
    assert (len(example), report(s3)["accepted"], report(s3)["rejected"]) == (3, 2, 0)


# --- ids


def test_rows_without_an_id_get_one_from_the_content_and_the_line(
    s3: Any, sqs: Any, settings: Settings, drop: Any
) -> None:
    text = "channel,address,body\nlog,a,x\n\nlog,b,x\n"
    dropped = drop(text)
    run(dropped)
    first = ids(sqs, settings)
    assert first == [f"campaign:{digest_of(text)}:2", f"campaign:{digest_of(text)}:4"]

    s3.delete_object(Bucket=BUCKET, Key=REPORT_KEY)
    run(dropped)
    assert ids(sqs, settings) == first
    run(drop(text + "log,c,x\n"))
    assert not set(first) & set(ids(sqs, settings))


# --- more than one run


def test_a_file_that_takes_longer_than_a_run_goes_on_where_it_stopped(
    s3: Any, sqs: Any, settings: Settings, drop: Any
) -> None:
    text = table(95) + "sms,bad,x,y\n" + table(30, start=95).partition("\n")[2]
    dropped = drop(text)
    runs = 0
    while True:
        steps = count()
        again_s = run(dropped, lambda: 300 if next(steps) < 2 else 29)  # noqa: B023
        runs += 1
        if again_s is None:
            break
        assert again_s == AGAIN_AT_ONCE_S
        assert [key for key in keys(s3) if key.startswith(CAMPAIGN_PROGRESS)]
    assert runs == 5
    assert ids(sqs, settings) == [f"n-{n:05}" for n in range(125)]
    assert [(each["line"], each["id"]) for each in rejected(s3)] == [(97, "x")]
    assert keys(s3) == [KEY, REJECTED_KEY, REPORT_KEY]


def test_rejected_rows_that_are_more_than_memory_should_hold_are_uploaded_in_parts_over_several_runs(
    s3: Any, drop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "PART_BYTES", 5 * 1024 * 1024)  # the least that S3 takes
    text = "channel,address,body\n" + f"sms,bad,{'가' * 30_000}\n" * 130
    dropped = drop(text)
    steps = count()
    largest = 0
    while run(dropped, lambda: 300 if next(steps) % 4 else 29) is not None:
        (saved,) = (key for key in keys(s3) if key.startswith(CAMPAIGN_PROGRESS))
        largest = max(largest, json.loads(written(s3, saved))["tail_bytes"])
    assert 0 < largest < 5 * 1024 * 1024 + 10 * 100_000
    assert [each["line"] for each in rejected(s3)] == list(range(2, 132))
    assert report(s3)["rejected"] == 130
    assert s3.head_object(Bucket=BUCKET, Key=REJECTED_KEY)["ETag"].strip('"').endswith("-3")
    assert not s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


CRASHES = [
    pytest.param(
        number,
        after,
        id=f"{number}-{'after it' if after else 'before the call'}",
        marks=pytest.mark.slow if number % 2 == after else (),  # `make unit` takes every call, and alternates
    )
    for number in range(22)  # as many calls as a run makes that none of them ends
    for after in (False, True)
]


@pytest.mark.parametrize(("crashes_at", "after"), CRASHES)
def test_a_crash_at_any_call_loses_no_row_and_leaves_one_report(
    s3: Any, sqs: Any, settings: Settings, drop: Any, monkeypatch: pytest.MonkeyPatch, crashes_at: int, after: bool
) -> None:
    monkeypatch.setattr(campaign, "PART_BYTES", 50_000)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 50_000)  # small parts, since this is run 44 times
    monkeypatch.setattr(campaign, "SAVE_EVERY_ROWS", 20)
    bad = f"sms,bad,,{'가' * 400}\n"
    dropped = drop(table(30) + bad * 50 + table(5, start=30).partition("\n")[2])
    numbers = count()

    def crash(real: Any, **call: Any) -> Any:
        now = next(numbers) == crashes_at
        if now and not after:
            raise KeyboardInterrupt
        try:
            return real(**call)
        finally:
            if now:
                raise KeyboardInterrupt

    s3_calls = ("get_object", "put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload")
    faulty = replace(
        dropped,
        s3=Faulty(s3, **dict.fromkeys((*s3_calls, "delete_object"), crash)),
        sqs=Faulty(sqs, send_message_batch=crash),
    )
    with pytest.raises(KeyboardInterrupt):
        run(faulty)
    for _ in range(3):
        if run(dropped) is None:
            break
    assert set(ids(sqs, settings)) == {f"n-{n:05}" for n in range(35)}
    assert (report(s3)["accepted"], report(s3)["rejected"]) == (35, 50)
    assert [each["line"] for each in rejected(s3)] == list(range(32, 82))


@pytest.mark.parametrize("rows_after", [1, 60], ids=["at the end", "on the way"])
def test_an_upload_that_another_run_has_ended_is_begun_again(
    s3: Any, drop: Any, monkeypatch: pytest.MonkeyPatch, rows_after: int
) -> None:
    """S3 may tell of a file twice, and two runs then work on it at once: the slower one starts over and is absorbed."""
    monkeypatch.setattr(campaign, "PART_BYTES", 5 * 1024 * 1024)
    bad = f"sms,bad,{'가' * 40_000}\n"
    dropped = drop("channel,address,body\n" + bad * (50 + rows_after))
    steps = count()
    assert run(dropped, lambda: 300 if next(steps) < 4 else 29) == AGAIN_AT_ONCE_S
    ended = fail("NoSuchUpload")
    late = replace(dropped, s3=Faulty(s3, upload_part=ended, complete_multipart_upload=ended))
    assert run(late) == AGAIN_LATER_S
    assert run(dropped) is None
    assert [each["line"] for each in rejected(s3)] == list(range(2, 52 + rows_after))


def test_a_message_that_comes_twice_is_worked_on_once(sqs: Any, settings: Settings, drop: Any) -> None:
    dropped = drop(table(5))
    run(dropped)
    assert len(ids(sqs, settings)) == 5
    assert run(dropped) is None
    assert ids(sqs, settings) == []


def test_a_corrected_file_under_the_same_name_is_another_file(s3: Any, sqs: Any, settings: Settings, drop: Any) -> None:
    run(drop(table(5) + "sms,bad,x,y\n"))
    run(drop(table(7)))
    assert set(ids(sqs, settings)) == {f"n-{n:05}" for n in range(7)}
    assert (report(s3)["accepted"], report(s3)["rejected"]) == (7, 0)


# --- faults


def test_rows_that_the_queue_does_not_take_are_sent_again_later(
    s3: Any, sqs: Any, settings: Settings, drop: Any
) -> None:
    dropped = drop(table(35))
    third = Faulty(sqs, send_message_batch=refuse(lambda _, body: "n-00020" in body))
    assert run(replace(dropped, sqs=third)) == AGAIN_LATER_S
    assert run(dropped) is None
    assert ids(sqs, settings) == [f"n-{n:05}" for n in range(35)]
    assert report(s3)["accepted"] == 35


def test_a_connection_that_breaks_in_the_middle_of_the_file_is_made_again(
    s3: Any, sqs: Any, settings: Settings, drop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.files.lines.CHUNK_BYTES", 500)
    dropped = drop(table(200))

    def breaks(real: Any, **call: Any) -> Any:
        answer = real(**call)
        if call["Key"] == KEY:
            body, parts = answer["Body"], count()

            def read(size: int) -> bytes:
                if next(parts) == 5:
                    raise ReadTimeoutError(endpoint_url="https://s3")
                return bytes(body.read(size))

            answer["Body"] = SimpleNamespace(read=read)
        return answer

    assert run(replace(dropped, s3=Faulty(s3, get_object=breaks))) == AGAIN_LATER_S
    assert run(dropped) is None
    assert ids(sqs, settings) == [f"n-{n:05}" for n in range(200)]


@pytest.mark.parametrize("gone", ["deleted", "replaced"])
def test_a_file_that_is_gone_before_its_end_is_reported(
    s3: Any, sqs: Any, settings: Settings, drop: Any, gone: str
) -> None:
    dropped = drop(table(35))
    assert run(dropped, lambda: 29) == AGAIN_AT_ONCE_S
    if gone == "deleted":
        s3.delete_object(Bucket=BUCKET, Key=KEY)
    else:
        drop(table(3))
    assert run(dropped) is None
    assert report(s3)["error"].startswith("the file was deleted or replaced before its end")
    assert report(s3)["accepted"] == 10
    assert ids(sqs, settings) == [f"n-{n:05}" for n in range(10)]


@pytest.mark.parametrize("operation", ["get_object", "put_object"])
def test_what_s3_refuses_for_another_reason_is_raised_and_comes_again(s3: Any, drop: Any, operation: str) -> None:
    dropped = drop(table(5))
    with pytest.raises(ClientError):
        run(replace(dropped, s3=Faulty(s3, **{operation: fail("AccessDenied")})))
    assert run(dropped) is None
    assert report(s3)["accepted"] == 5


# --- the handler


@pytest.fixture
def handle(s3: Any, sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler, given the first message of the campaign queue with a body; returns its answer."""
    queue_url = sqs.create_queue(QueueName="campaign", Attributes={"VisibilityTimeout": "1800"})["QueueUrl"]
    for name, value in replace(settings, campaign_queue_url=queue_url).to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(campaign, "_clients", lambda: (s3, sqs))
    state = SimpleNamespace(left_s=float(CAMPAIGN_TIMEOUT_S), queue_url=queue_url)

    def call(body: object) -> Any:
        sqs.send_message(QueueUrl=queue_url, MessageBody=json.dumps(body))
        (message,) = sqs.receive_message(QueueUrl=queue_url)["Messages"]
        event = {"Records": [record(message["Body"], "m-1") | {"receiptHandle": message["ReceiptHandle"]}]}
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: state.left_s * 1000)
        return campaign.handler(event, context)  # type: ignore[arg-type]

    call.state = state  # type: ignore[attr-defined]
    return call


def s3_event(dropped: Campaign) -> dict[str, Any]:
    """Make the message that S3 puts on the queue. The key is written as in a URL's query."""
    thing = {"key": quote_plus(dropped.key), "size": dropped.size, "eTag": dropped.etag, "sequencer": "0055AED6DCD9"}
    where = {"s3SchemaVersion": "1.0", "bucket": {"name": BUCKET}, "object": thing}
    return {
        "Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": where}]
    }


@pytest.mark.parametrize("name", ["봄 세일 2020+1.csv", "a b.jsonl", "100%.CSV"])
def test_a_files_name_may_have_any_characters(s3: Any, drop: Any, handle: Any, name: str) -> None:
    text = '{"channel": "log", "address": "me", "content": {"body": "x"}}' if name.endswith("l") else table(1)
    dropped = drop(text, f"campaigns/{name}")
    assert handle(s3_event(dropped)) == {"batchItemFailures": []}
    assert report(s3, dropped.key)["accepted"] == 1


def test_what_is_not_done_comes_again_at_once_and_not_after_half_an_hour(
    s3: Any, sqs: Any, drop: Any, handle: Any
) -> None:
    dropped = drop(table(25))
    handle.state.left_s = 29
    assert handle(s3_event(dropped)) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert sqs.receive_message(QueueUrl=handle.state.queue_url)["Messages"]


@pytest.mark.parametrize("key", ["campaigns/a.csv.rejected.jsonl", "campaigns/a.csv.report.json", "campaigns/folder/"])
def test_our_own_files_and_folders_are_no_campaigns(s3: Any, drop: Any, handle: Any, key: str) -> None:
    assert handle(s3_event(drop("x", key))) == {"batchItemFailures": []}
    assert keys(s3) == [key]


def test_the_test_message_of_s3_is_no_campaign(handle: Any) -> None:
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2020-11-11T03:00:00.000Z", "Bucket": BUCKET}
    assert handle(test) == {"batchItemFailures": []}


def test_the_log_says_how_many_and_nothing_of_whom(drop: Any, handle: Any, caplog: pytest.LogCaptureFixture) -> None:
    handle(s3_event(drop(table(3) + "sms,bad,x,봄\n", f"campaigns/{CANARY}.csv")))
    assert caplog.records
    for entry in caplog.records:
        assert CANARY not in str(vars(entry)) and "봄" not in str(vars(entry))
