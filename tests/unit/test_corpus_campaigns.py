"""Campaign files that come twice, repeat themselves, are announced in an envelope, or have something forged beside
them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas import campaign
from lambdas.campaign import AGAIN_AT_ONCE_S, AGAIN_LATER_S, Campaign
from lambdas.producer import accept_all
from lambdas.quiet_hours.errors import HandlerFailed
from lambdas.quiet_hours.files import digest as digest_module
from lambdas.quiet_hours.files.digest import START, next_digest
from lambdas.quiet_hours.files.seen import Seen
from lambdas.quiet_hours.files.uploads import uploads
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores import campaign_files
from tests.helpers.aws import DAY, Faulty, aws, dynamodb, record, settings, sqs, take_notifications

__all__ = ["dynamodb", "settings", "sqs"]

BUCKET = "quiethours-campaigns"
KEY = "campaigns/spring.csv"
TEXT = "channel,address,body\n" + "".join(f"log,user-{n},x\n" for n in range(5))


@pytest.fixture
def s3(sqs: Any) -> Any:
    client = aws("s3")
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "ap-northeast-2"})
    return client


class Drop:
    """Puts files into the bucket, and reads what the campaign function makes of them."""

    def __init__(self, s3: Any, sqs: Any, settings: Settings) -> None:
        self.s3, self.sqs, self.settings = s3, sqs, settings
        self.uploads = 0

    def __call__(self, text: str, key: str = KEY, etag: str | None = None) -> Campaign:
        self.uploads += 1
        body = text.encode()
        put = self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')
        dropped = Campaign(self.s3, self.sqs, self.settings, BUCKET, key, put, len(body), f"{self.uploads:04}")
        return replace(dropped, etag=etag, s3=self.with_etag(put)) if etag else dropped

    def with_etag(self, real_etag: str) -> Any:
        """S3 as it would be if the file had been uploaded in parts: memory's S3 takes only parts of 5 MiB and more."""

        def get(real: Any, **call: Any) -> Any:
            return real(**call | ({"IfMatch": f'"{real_etag}"'} if "IfMatch" in call else {}))

        return Faulty(self.s3, get_object=get)

    def ids(self) -> list[str]:
        return [each["id"] for each in take_notifications(self.sqs, self.settings.notification_queue_url)]

    def json(self, key: str) -> Any:
        return json.load(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"])

    def report(self, key: str = KEY) -> dict[str, Any]:
        found: dict[str, Any] = self.json(f"reports/{key}.report.json")
        return found

    def rejected(self, key: str = KEY) -> dict[int, list[str]]:
        body = self.s3.get_object(Bucket=BUCKET, Key=f"reports/{key}.rejected.jsonl")["Body"].read().decode()
        return {each["line"]: each["errors"] for each in map(json.loads, body.splitlines())}


@pytest.fixture
def drop(s3: Any, sqs: Any, settings: Settings) -> Drop:
    return Drop(s3, sqs, settings)


def run(campaign: Campaign, left_s: Callable[[], float] = lambda: 300.0) -> int | None:
    return campaign.go_on(lambda: DAY, left_s)


# --- the same bytes


def test_the_same_bytes_under_another_name_or_etag_make_the_same_ids(drop: Drop) -> None:
    assert run(drop(TEXT)) is None
    first = drop.ids()
    assert len(first) == 5 and all(len(each) <= 128 for each in first)
    assert run(drop(TEXT, "campaigns/copied.csv")) is None
    assert drop.ids() == first
    assert run(drop(TEXT, "campaigns/in-parts.csv", etag="0123456789abcdef0123456789abcdef-3")) is None
    assert drop.ids() == first


def test_the_same_bytes_under_the_same_name_are_not_sent_and_the_report_says_so(drop: Drop) -> None:
    run(drop(TEXT))
    first = drop.report()
    assert len(drop.ids()) == 5 and "dropped_again_at" not in first
    for again in (drop(TEXT), drop(TEXT, etag="0123456789abcdef0123456789abcdef-3")):
        assert run(again) is None
        assert drop.ids() == []
        assert drop.report()["dropped_again_at"] == "2020-11-11T03:00:00+00:00"
        assert (drop.report()["etag"], drop.report()["accepted"]) == (again.etag, 5)
    assert not drop.s3.list_objects_v2(Bucket=BUCKET, Prefix="progress/").get("Contents")


def test_a_file_that_was_gone_before_its_end_is_read_when_it_is_dropped_again(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "ROWS_A_BATCH", 2)
    dropped = drop(TEXT)
    assert run(dropped, lambda: 29) == AGAIN_AT_ONCE_S
    drop.s3.delete_object(Bucket=BUCKET, Key=KEY)
    assert run(dropped) is None
    assert drop.report()["error"] and len(drop.ids()) == 2
    assert run(drop(TEXT)) is None
    assert (drop.report()["error"], drop.report()["accepted"], len(drop.ids())) == (None, 5, 5)


def test_the_digest_is_made_over_several_runs_and_is_the_same(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((campaign, "DIGEST_PART_BYTES"), (digest_module, "CHUNK_BYTES")):
        monkeypatch.setattr(module, name, 16)
    run(drop(TEXT))
    expected = drop.ids()
    dropped = drop(TEXT, "campaigns/slow.csv")
    runs = 0
    while (again_s := run(dropped, lambda: 29)) is not None:
        assert again_s == AGAIN_AT_ONCE_S
        runs += 1
    assert runs > 5
    assert drop.ids() == expected
    run(drop(TEXT.replace("user-0", "user-9"), "campaigns/other.csv"))
    assert not set(drop.ids()) & set(expected)


def test_a_connection_that_ends_early_changes_no_id(drop: Drop) -> None:
    dropped = drop(TEXT)

    def short(real: Any, **call: Any) -> Any:
        answer = real(**call)
        if call["Key"] != KEY:
            return answer
        body = answer["Body"].read()[:-9]
        parts = [body, b"", b"", b""]
        return {"Body": SimpleNamespace(read=lambda size: parts.pop(0))}

    assert run(replace(dropped, s3=Faulty(drop.s3, get_object=short))) == AGAIN_LATER_S
    assert run(dropped) is None
    assert drop.report()["accepted"] == 5


def test_no_file_can_be_made_to_have_the_digest_of_another() -> None:
    """A part's digest, written at the beginning of another file, does not stand for what it was made from."""
    first, second = b"a" * 64, b"b" * 64
    whole = next_digest(next_digest(START, reader(first), 64), reader(second), 64)
    forged = next_digest(START, reader(first), 64) + second
    assert next_digest(START, reader(forged), len(forged)) != whole


def reader(data: bytes) -> Callable[[int], bytes]:
    parts = [data]
    return lambda size: parts.pop() if parts else b""


# --- what stands in a file twice

REPEATS = {
    "an id saved by Excel": (["1.00E+12"] * 5, [2], 4),
    "an id twice": (["a", "b", "a"], [2, 3], 1),
    "three of one, two of another": (["a", "b", "a", "b", "a"], [2, 3], 3),
    "upper and lower case are two": (["a", "A"], [2, 3], 0),
    "no ids": (["", "", ""], [2, 3, 4], 0),
}


@pytest.mark.parametrize(("given", "accepted", "repeated"), REPEATS.values(), ids=REPEATS)
def test_the_second_row_with_an_id_is_refused(drop: Drop, given: list[str], accepted: list[int], repeated: int) -> None:
    run(drop("channel,address,body,id\n" + "".join(f"log,u-{n},x,{id}\n" for n, id in enumerate(given))))
    assert len(drop.ids()) == len(accepted)
    report = drop.report()
    assert (report["accepted"], report["rejected"], report["repeated_ids"]) == (len(accepted), repeated, repeated)
    if repeated:
        refused = drop.rejected()
        assert set(refused) == set(range(2, len(given) + 2)) - set(accepted)
        first = {line: 2 + given.index(given[line - 2]) for line in refused}
        assert refused == {line: [f"id: stands in line {first[line]} already"] for line in refused}


def test_a_wrong_row_does_not_take_an_id(drop: Drop) -> None:
    run(drop("channel,address,body,id\nfax,a,x,n-1\nlog,a,x,n-1\n"))
    assert drop.ids() == ["n-1"]
    assert list(drop.rejected()) == [2]


def test_json_lines_repeat_ids_too(drop: Drop) -> None:
    line = json.dumps({"id": "n-1", "channel": "log", "address": "a", "content": {"body": "x"}}) + "\n"
    run(drop(line * 3, "campaigns/a.jsonl"))
    assert drop.rejected("campaigns/a.jsonl") == {n: ["id: stands in line 1 already"] for n in (2, 3)}


def test_addresses_that_stand_in_a_file_twice_are_counted_and_sent(drop: Drop) -> None:
    lines = ["sms,010-1234-5678,hi", "sms,+82 10 1234 5678,hi", "sms,01012345678,hi", "log,01012345678,hi", "fax,a,x"]
    run(drop("channel,address,body\n" + "\n".join(lines)))
    assert len(drop.ids()) == 4
    assert drop.report()["repeated_addresses"] == 2


def test_repeats_are_found_over_several_runs_and_a_crash(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "ROWS_A_BATCH", 2)
    ids = [f"n-{n % 4}" for n in range(12)]
    dropped = drop("channel,address,body,id\n" + "".join(f"log,u,x,{id}\n" for id in ids))
    assert run(dropped, lambda: 29) == AGAIN_AT_ONCE_S

    def dies(real: Any, **call: Any) -> Any:
        if call["Key"].endswith(".json"):  # the ids are saved, and the progress is not
            raise KeyboardInterrupt
        return real(**call)

    with pytest.raises(KeyboardInterrupt):
        run(replace(dropped, s3=Faulty(drop.s3, put_object=dies)), lambda: 29)
    while run(dropped, lambda: 29) is not None:
        pass
    assert set(drop.ids()) == {"n-0", "n-1", "n-2", "n-3"}
    report = drop.report()
    assert (report["accepted"], report["repeated_ids"], report["repeated_addresses"]) == (4, 8, 3)
    assert drop.rejected()[13] == ["id: stands in line 5 already"]
    assert not drop.s3.list_objects_v2(Bucket=BUCKET, Prefix="progress/").get("Contents")


def test_what_is_remembered_is_bounded_and_the_report_says_from_where(
    drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_files, "Seen", lambda saved: Seen(saved, most=2))
    rows = "".join(f"log,u-{id},x,{id}\n" for id in ("a", "b", "c", "c", "a"))
    run(drop("channel,address,body,id\n" + rows))
    report = drop.report()
    assert (report["accepted"], report["repeated_ids"], report["repeats_counted_before_line"]) == (4, 1, 4)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=200), st.integers(1, 40))
@examples(max_examples=100, deadline=None)
def test_seen_answers_as_a_dictionary_would(values: list[tuple[int, bool]], most: int) -> None:
    seen, first = Seen(most=most), dict[int, int]()
    for line, (value, is_saved) in enumerate(values, start=1):
        if is_saved:
            seen = Seen(seen.to_bytes(), most=most)
        assert seen.earlier_line(str(value), line) == first.get(value)
        assert seen.earlier_line(str(value), line) == first.get(value)
        if len(first) < most:
            first.setdefault(value, line)
    assert len(seen) == len(first)


def test_many_values_are_remembered_in_bounded_room() -> None:
    seen = Seen(most=10_000)
    for number in range(30_000):
        assert seen.earlier_line(f"id-{number}", number + 1) is None
    assert (len(seen), seen.missed_from) == (10_000, 10_001)
    assert len(seen.to_bytes()) == 8 * (1 + 2 * 10_000)
    assert seen.earlier_line("id-9999", 50_000) == 10_000


def test_the_second_with_an_id_in_a_request_is_refused(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    one = {"channel": "log", "address": "a", "content": {"body": "x"}}
    wanted = [one | {"id": "n-1", "channel": "fax"}, one | {"id": "n-1"}, one | {"id": "n-1"}, one, one]
    made = iter(["made-1", "made-2"])
    status, answer = accept_all(
        {"notifications": wanted}, DAY, sqs, dynamodb, settings, settings.quiet_hours(), made.__next__
    )
    assert status == 202
    assert [each["id"] for each in answer["accepted"]] == ["n-1", "made-1", "made-2"]
    assert answer["rejected"][1] == {"index": 2, "id": "n-1", "errors": ["id: stands at index 1 already"]}
    assert [each["index"] for each in answer["rejected"]] == [0, 2]


# --- messages


def s3_event(name: str = "ObjectCreated:Put") -> dict[str, Any]:
    thing = {"key": "campaigns/a+b%20c.csv", "size": 5, "eTag": "e", "sequencer": "01"}
    return {"Records": [{"eventName": name, "s3": {"bucket": {"name": BUCKET}, "object": thing}}]}


def eventbridge(name: str = "Object Created") -> dict[str, Any]:
    thing = {"key": "campaigns/a b c.csv", "size": 5, "etag": "e", "sequencer": "01"}
    return {
        "version": "0", "source": "aws.s3", "detail-type": name, "detail": {"bucket": {"name": BUCKET}, "object": thing}
    }  # fmt: skip


def sns(event: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:x:1:t", "Message": json.dumps(event)}


TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}


@pytest.mark.parametrize("event", [s3_event(), eventbridge(), sns(s3_event()), sns(eventbridge())])
def test_an_event_is_read_with_and_without_an_envelope(event: dict[str, Any]) -> None:
    """R24: the arrival of an object may also be told by way of SNS."""
    assert uploads(json.dumps(event)) == [(BUCKET, "campaigns/a b c.csv", "e", 5, "01")]


@pytest.fixture
def handle(drop: Drop, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Any]:
    for name, value in drop.settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(campaign, "_clients", lambda: (drop.s3, drop.sqs))
    context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 300_000)
    return lambda body: campaign.handler(
        {"Records": [record(body if isinstance(body, str) else json.dumps(body), "m-1")]}, context
    )


@pytest.mark.parametrize("body", ["", "x", "[]", "1", "{}", '{"Records": [{}]}', {"source": "aws.s3"}, sns({}), "null"])
def test_what_is_not_understood_is_said_and_comes_again(handle: Any, body: Any, caplog: Any) -> None:
    with pytest.raises(HandlerFailed):
        handle(body)
    assert "campaign message not understood" in caplog.text


@pytest.mark.parametrize("event", [s3_event("ObjectRemoved:Delete"), eventbridge("Object Deleted")])
def test_an_event_that_names_no_campaign_is_said(handle: Any, event: Any, caplog: Any) -> None:
    assert handle(event) == {"batchItemFailures": []}
    assert "campaign message without a campaign file" in caplog.text


@pytest.mark.parametrize("key", ["progress/x.json", "reports/campaigns/a.csv.report.json", "elsewhere/a.csv"])
def test_a_rule_for_the_whole_bucket_makes_no_campaign_of_our_own_objects(handle: Any, drop: Drop, key: str) -> None:
    event = eventbridge()
    event["detail"]["object"]["key"] = key
    assert handle(event) == {"batchItemFailures": []}
    assert "Contents" not in drop.s3.list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("event", [TEST_EVENT, sns(TEST_EVENT)])
def test_s3s_test_stays_silent(handle: Any, event: Any, caplog: Any) -> None:
    assert handle(event) == {"batchItemFailures": []}
    assert not caplog.records


def test_a_file_that_eventbridge_tells_of_is_read(handle: Any, drop: Drop) -> None:
    dropped = drop(TEXT)
    event = eventbridge()
    event["detail"]["object"] = {"key": KEY, "size": dropped.size, "etag": dropped.etag, "sequencer": "9"}
    assert handle(event) == {"batchItemFailures": []}
    assert drop.report()["accepted"] == 5


# --- what is forged beside a file

FORGED = {
    "a report of an older version": lambda etag: json.dumps({"etag": etag, "accepted": 5, "rejected": 0}).encode(),
    "a report of today's": lambda etag: json.dumps({"etag": etag, "sequencer": "0001", "error": None}).encode(),
    "no JSON": lambda etag: b"x" * 100,
    "no UTF-8": lambda etag: b"\xff" * 100,
    "JSON a thousand levels deep": lambda etag: b"[" * 10_000,
    "a list": lambda etag: b"[]",
    "more than fits into memory": lambda etag: b" " * 100_000 + json.dumps({"etag": etag}).encode(),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_nothing_beside_a_file_keeps_it_from_being_read(drop: Drop, forged: Callable[[str], bytes]) -> None:
    dropped = drop(TEXT)
    drop.s3.put_object(Bucket=BUCKET, Key=KEY + ".report.json", Body=forged(dropped.etag))
    assert run(dropped) is None
    assert len(drop.ids()) == 5
    assert drop.report()["accepted"] == 5
    assert run(dropped) is None
    assert drop.ids() == []
