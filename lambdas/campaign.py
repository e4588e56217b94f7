"""The campaign function: accepts the rows of a file that was dropped into the campaign bucket, however many they are.

It reads the file as a stream and puts its rows on the notification queue in bundles. When time runs short it saves its
progress in the bucket, and the same message comes again at once, to go on from there. While the notification queue is
deep, it waits, so that what others put there is not delayed. Rows that are sent twice after a
crash are absorbed: a row without an id is known by a digest of the file's bytes and its line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from .quiet_hours.errors import Unreadable, UnreadableFile
from .quiet_hours.files.csv_rows import Header
from .quiet_hours.files.digest import PART_BYTES as DIGEST_PART_BYTES
from .quiet_hours.files.digest import next_digest
from .quiet_hours.files.judging import Judged, judge
from .quiet_hours.files.rows import Row, rows
from .quiet_hours.files.seen import SeenInFile
from .quiet_hours.files.uploads import Upload, is_test, uploads
from .quiet_hours.notification.bundle import pack
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import CAMPAIGN_UPLOADS, Settings
from .quiet_hours.stores.campaign_files import GONE, REJECTED, REPORT, Progress, Records
from .quiet_hours.stores.clients import SERVICE_ERRORS, client_config, error_code
from .quiet_hours.stores.depth import DEEP, depth
from .quiet_hours.stores.queues import send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

ROWS_A_BATCH, BATCH_BYTES = 1_000, 4 * 1024 * 1024
"""Ten full bundles of short notifications, which are one call; fewer rows if they are long."""

PART_BYTES = 8 * 1024 * 1024
"""The bytes of rejected rows that are kept in memory. S3 takes parts of an upload from 5 MiB on."""

SAVE_EVERY_ROWS = 100_000
STOP_BEFORE_S = 30
AGAIN_AT_ONCE_S, AGAIN_LATER_S = 0, 600
"""The delay before the next run. After a failure of S3 or SQS, and where the notification queue stays deep, it is
longer: 150 receives then cover a day of outage."""

ROOM_LOOKS_MAX, ROOM_LOOK_S = 60, 1.0
"""The looks at a deep notification queue before the file is left for later, and the pause before each further one. Two
consumers need some seconds to make room: a run would rather wait for that than spend one of the message's receives."""

logger = Logger()


@cache
def _clients() -> tuple[Any, Any]:
    config = client_config(connect_timeout_s=2, read_timeout_s=10, attempts=3)
    return boto3.client("s3", config=config), boto3.client("sqs", config=config)


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS event whose messages are S3's, and return the partial batch response. An unfinished file comes
    again. Raises `HandlerFailed` for a message that is not understood: the alarm goes off."""
    s3, sqs = _clients()
    settings = Settings.from_env()
    failed = []
    for record in event["Records"]:
        again_s: int | None = None
        for upload in _campaigns(record["body"]):
            campaign = Campaign(s3, sqs, settings, *upload)
            left = campaign.go_on(lambda: datetime.now(UTC), lambda: context.get_remaining_time_in_millis() / 1000)
            again_s = again_s if left is None else left
        if again_s is not None:
            sqs.change_message_visibility(
                QueueUrl=settings.campaign_queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=again_s
            )
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _campaigns(body: str) -> list[Upload]:
    """The campaign files that a message names. Folders and our own files are none; an event rule may tell of them."""
    try:
        named = uploads(body)
    except Unreadable as fault:
        logger.warning("campaign message not understood", extra={"why": str(fault)})
        raise
    found = [each for each in named if each.key.startswith(CAMPAIGN_UPLOADS)]
    found = [each for each in found if not each.key.endswith(("/", REJECTED, REPORT))]
    if not found and not is_test(body):
        logger.info("campaign message without a campaign file", extra={"named": len(named)})
    return found


@dataclass(frozen=True)
class Campaign:
    """One file. `etag` stands for its content while it is read: a file that is replaced in the meantime is another one.
    `sequencer` stands for the upload."""

    s3: Any
    sqs: Any
    settings: Settings
    bucket: str
    key: str
    etag: str
    size: int
    sequencer: str = ""
    sleep: Callable[[float], None] = time.sleep

    @property
    def records(self) -> Records:
        """What the bucket holds about this file."""
        return Records(self.s3, self.bucket, self.key, self.etag, self.sequencer)

    def go_on(self, now: Callable[[], datetime], remaining_s: Callable[[], float]) -> int | None:
        """Accept rows until the file ends, time runs short or a call fails.

        Returns None at the file's end, else the delay in seconds before the next run. Raises what S3 raises if the
        progress cannot be read or written.
        """
        report = self.records.report()
        if report.get("etag") == self.etag and report.get("sequencer") == self.sequencer:
            return None
        progress = self.records.saved()
        try:
            return self._go_on(progress, report, now, remaining_s)
        except ClientError as fault:
            if error_code(fault) != "NoSuchUpload":
                raise
            # another run of the same file has ended the upload: start over, and be absorbed
            self.records.save(Progress(file_id=progress.file_id), self.records.seen())
            return AGAIN_LATER_S

    def _go_on(
        self, progress: Progress, report: dict[str, Any], now: Callable[[], datetime], remaining_s: Callable[[], float]
    ) -> int | None:
        error = again_s = None
        seen = self.records.seen()
        try:
            again_s = self._identify(progress, remaining_s)
            if again_s is None and progress.file_id == report.get("digest") and not report["error"]:
                self.records.write_report(report | {"dropped_again_at": now().isoformat(timespec="seconds")})
                return None
            if again_s is None:
                again_s = self._accept(progress, seen, now, remaining_s)
        except UnreadableFile as fault:
            error = str(fault)
        except ClientError as fault:
            if error_code(fault) not in GONE:
                raise
            error = "the file was deleted or replaced before its end; what was accepted until then stays accepted"
        shown = {"etag": self.etag, "accepted": progress.accepted, "rejected": progress.rejected}
        if again_s is not None:
            self.records.save(progress, seen)
            logger.info("campaign goes on", extra=shown)
            return again_s
        self.records.finish(progress, seen, error, now())
        logger.info("campaign", extra=shown | {"readable": error is None})
        return None

    def _identify(self, progress: Progress, remaining_s: Callable[[], float]) -> int | None:
        """Read the file for the digest of its bytes. Return None when it is known, else in how many seconds to go on.

        The ETag would not do: the same bytes have another one when they are uploaded in other parts, or copied.
        """
        if progress.file_id:
            return None
        read = self._reader(progress.digested)
        while progress.digested < self.size:
            part = min(DIGEST_PART_BYTES, self.size - progress.digested)
            try:
                progress.digest = next_digest(bytes.fromhex(progress.digest), read, part).hex()
            except (*SERVICE_ERRORS, EOFError) as fault:
                logger.warning("campaign file not read on", extra={"code": error_code(fault)})
                return AGAIN_LATER_S
            progress.digested += part
            if progress.digested < self.size and remaining_s() < STOP_BEFORE_S:
                return AGAIN_AT_ONCE_S
        progress.file_id = progress.digest
        return None

    def _accept(
        self, progress: Progress, seen: SeenInFile, now: Callable[[], datetime], remaining_s: Callable[[], float]
    ) -> int | None:
        if progress.offset >= self.size > 0:
            return None
        read = self._reader(progress.offset)
        header = Header(progress.columns, progress.separator)
        found, header = rows(self.key, read, offset=progress.offset, line=progress.line, header=header)
        progress.columns, progress.separator = list(header.columns), header.separator
        unsaved = 0
        while True:
            if not self._has_room(remaining_s):
                return AGAIN_LATER_S
            try:
                batch = _batch(found, progress.offset)
            except SERVICE_ERRORS as fault:
                logger.warning("campaign file not read on", extra={"code": error_code(fault)})
                return AGAIN_LATER_S
            if not batch:
                return None
            judged = judge(batch, progress.file_id, seen, now(), self.settings)
            if not_taken := send(self.sqs, self.settings.notification_queue_url, pack(judged.items)):
                logger.warning("campaign not taken", extra={"codes": sorted(set(not_taken.values()))})
                return AGAIN_LATER_S
            _count(progress, batch[-1], judged)
            unsaved += len(batch)
            if full := progress.tail_bytes >= PART_BYTES:
                self.records.upload_part(progress)
            if remaining_s() < STOP_BEFORE_S:
                return AGAIN_AT_ONCE_S
            if full or unsaved >= SAVE_EVERY_ROWS:
                self.records.save(progress, seen)
                unsaved = 0

    def _has_room(self, remaining_s: Callable[[], float]) -> bool:
        """Wait while the notification queue is deep. Returns False if it stays so.

        Where the depth cannot be read, the rows are sent: sending tells what is wrong.
        """
        for _ in range(ROOM_LOOKS_MAX):
            try:
                found = depth(self.sqs, self.settings.notification_queue_url)
            except SERVICE_ERRORS as fault:
                logger.warning("depth of the notification queue not read", extra={"code": error_code(fault)})
                return True
            if found <= DEEP:
                return True
            if remaining_s() < STOP_BEFORE_S:
                break
            self.sleep(ROOM_LOOK_S)
        logger.info("campaign waits: the notification queue is deep", extra={"etag": self.etag})
        return False

    def _reader(self, offset: int) -> Callable[[int], bytes]:
        if self.size == 0:
            return lambda size: b""
        answer = self.s3.get_object(
            Bucket=self.bucket, Key=self.key, IfMatch=f'"{self.etag}"', Range=f"bytes={offset}-"
        )
        read: Callable[[int], bytes] = answer["Body"].read
        return read


def _batch(found: Iterator[Row], offset: int) -> list[Row]:
    """The next rows, which begin at `offset`: as many as one step takes, none at the end."""
    batch: list[Row] = []
    for row in found:
        batch.append(row)
        if len(batch) == ROWS_A_BATCH or row.end - offset >= BATCH_BYTES:
            break
    return batch


def _count(progress: Progress, last: Row, judged: Judged) -> None:
    """Put down that the rows up to `last` are done."""
    progress.offset, progress.line = last.end, last.next_line
    progress.accepted += len(judged.items)
    progress.rejected += len(judged.rejected)
    progress.repeated_ids += judged.repeated_ids
    progress.repeated_addresses += judged.repeated_addresses
    progress.tail += judged.rejected
    progress.tail_bytes += sum(len(each.encode()) for each in judged.rejected)
