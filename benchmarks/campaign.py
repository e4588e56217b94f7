"""`python -m benchmarks.campaign`: sends campaign files of different lengths through the campaign function.

A process of its own accepts each file on the embedded AWS, and the peak of its memory is printed. One row in a thousand
is invalid, each time in another field. The benchmark counts every accepted row on the notification queue, and the
rejected rows by their lines. `python -m benchmarks.campaign 5000 50000` takes other numbers of rows.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lambdas.campaign import STOP_BEFORE_S, Campaign
from lambdas.quiet_hours.settings import CAMPAIGN_REPORTS, CAMPAIGN_UPLOADS, Settings
from lambdas.quiet_hours.stores.campaign_files import REJECTED, REPORT
from local import BUILD, aws, server

ROWS = (10_000, 100_000, 1_000_000)
RUN_S = 60
"""The time after which a run has to save its progress. It is shorter than the function's five minutes, so that a
million rows take several runs."""

WRONG_EVERY = 1_000
BUCKET = "bench-campaigns"
RIGHT = {
    "channel": "sms",
    "address": "010-1234-5678",
    "category": "advertising",
    "recipient_id": "user-42",
    "id": "",
    "title": "(광고) 봄 세일",
    "body": "오늘부터 일주일 동안 봄 신상품 30% 할인. 무료 수신거부 080-000-0000",
    "template": "spring",
    "expires_at": "",
    "source": "campaign",
    "variables.name": "지민",
    "metadata.wave": "1",
}
WRONG = {
    "channel": "fax",
    "address": "12",
    "category": "spam",
    "recipient_id": "r" * 129,
    "id": "no spaces",
    "title": "\x07",
    "body": "\x07",
    "template": "\x07",
    "expires_at": "tomorrow",
    "source": "s" * 129,
    "variables.name": "\x07",
    "metadata.wave": "\x07",
}
"""An invalid value for each field. The expected reason contains the name of the field."""


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:]] or list(ROWS)
    directory = BUILD / "bench-campaign"
    shutil.rmtree(directory, ignore_errors=True)
    embedded = server.start(server.free_port(), directory / "server")
    found = []
    try:
        s3, sqs = aws.client(embedded.endpoint, "s3"), aws.client(embedded.endpoint, "sqs")
        s3.create_bucket(Bucket=BUCKET)
        queue_url = sqs.create_queue(QueueName="Notification", Attributes={"MaximumMessageSize": str(64 * 1024)})
        for rows in sizes:
            found.append(_measure(embedded.endpoint, queue_url["QueueUrl"], rows, directory / f"{rows}.csv"))
            print(_line(found[-1]), flush=True)
    finally:
        embedded.stop()
    (BUILD / "bench-campaign.json").write_text(json.dumps(found, indent=2) + "\n")


def _measure(endpoint: str, queue_url: str, rows: int, path: Path) -> dict[str, Any]:
    s3 = aws.client(endpoint, "s3")
    expected = _write(path, rows)
    key = CAMPAIGN_UPLOADS + path.name
    with path.open("rb") as file:
        etag = s3.put_object(Bucket=BUCKET, Key=key, Body=file)["ETag"].strip('"')
    ids: Counter[str] = Counter()
    done = threading.Event()
    drain = threading.Thread(target=_drain, args=[endpoint, queue_url, ids, done])
    drain.start()
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            made = pool.submit(_accept, endpoint, queue_url, key, etag, path.stat().st_size).result()
    finally:
        done.set()
        drain.join()

    beside = CAMPAIGN_REPORTS + key
    report = json.load(s3.get_object(Bucket=BUCKET, Key=beside + REPORT)["Body"])
    rejected = [json.loads(line) for line in s3.get_object(Bucket=BUCKET, Key=beside + REJECTED)["Body"].iter_lines()]
    reasons = {each["line"]: each["errors"] for each in rejected}
    assert reasons.keys() == expected.keys() and len(rejected) == len(reasons)
    for line, name in expected.items():
        assert len(reasons[line]) == 1 and name in reasons[line][0], (line, name, reasons[line])
    assert set(ids) == {f"campaign:{report['digest']}:{line}" for line in range(2, rows + 2) if line not in expected}
    assert (report["accepted"], report["rejected"], report["error"]) == (len(ids), len(rejected), None)
    return made | {
        "rows": rows,
        "file_mib": path.stat().st_size / 2**20,
        "accepted": len(ids),
        "rejected": len(rejected),
        "twice": sum(ids.values()) - len(ids),
    }


def _write(path: Path, rows: int) -> dict[int, str]:
    """Write a file. Returns, for each invalid line, the name that its reason has to contain."""
    expected = {}
    wrong = list(WRONG.items())
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(RIGHT) + "\n")
        for line in range(2, rows + 2):
            fields = RIGHT
            if line % WRONG_EVERY == 0:
                name, value = wrong[line // WRONG_EVERY % len(wrong)]
                fields = RIGHT | {name: value}
                expected[line] = name.partition(".")[0]
            file.write(",".join(fields.values()) + "\n")
    return expected


def _accept(endpoint: str, queue_url: str, key: str, etag: str, size: int) -> dict[str, Any]:
    """Accept a file from its first run to its last, as Lambda would start them. Runs in a process of its own."""
    s3, sqs = aws.client(endpoint, "s3"), aws.client(endpoint, "sqs")
    s3.list_buckets(), sqs.list_queues()
    settings = replace(Settings(*[""] * 8), notification_queue_url=queue_url)
    campaign = Campaign(s3, sqs, settings, BUCKET, key, etag, size)
    before_kib, started, cpu_s = _peak_kib(), time.monotonic(), time.process_time()
    runs, again_s = 0, 0
    while again_s is not None:
        runs, ends = runs + 1, time.monotonic() + RUN_S + STOP_BEFORE_S
        again_s = campaign.go_on(lambda: datetime.now(UTC), lambda ends=ends: ends - time.monotonic())
    return {
        "runs": runs,
        "seconds": time.monotonic() - started,
        "cpu_s": time.process_time() - cpu_s,
        "before_mib": before_kib / 1024,
        "peak_mib": _peak_kib() / 1024,
    }


def _peak_kib() -> int:
    """The peak memory of this process. It comes from /proc if possible, because getrusage counts the parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _drain(endpoint: str, queue_url: str, ids: Counter[str], done: threading.Event) -> None:
    """Take everything off the queue, as the consumer does, until it is empty after `done`."""
    sqs = aws.client(endpoint, "sqs")
    while True:
        ended = done.is_set()
        messages = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", [])
        if messages:
            for message in messages:
                ids.update(each["id"] for each in json.loads(message["Body"]))
            entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
            sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
        elif ended:
            return
        else:
            time.sleep(0.05)


def _line(found: dict[str, Any]) -> str:
    return (
        f"{found['rows']:>9,} rows, {found['file_mib']:6.1f} MiB: {found['accepted']:,} accepted, "
        f"{found['rejected']:,} rejected by line, {found['twice']:,} twice on the queue, {found['runs']} runs; "
        f"memory at the start {found['before_mib']:.0f} MiB, at its peak {found['peak_mib']:.0f} MiB; "
        f"{found['cpu_s'] / found['rows'] * 1e6:.0f} us of CPU a row"
    )


if __name__ == "__main__":
    main()
