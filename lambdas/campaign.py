"""The campaign function: accepts the rows of a file that was dropped into the campaign bucket, however many they are.

It reads the file as a stream and puts its rows on the notification queue in bundles. When time runs short it saves its
progress beside the files, and the same message comes again at once, to go on from there. Rows that are sent twice after
a crash are absorbed: a row without an id is known by the file's content and its line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from .quiet_hours.errors import Invalid, UnreadableFile
from .quiet_hours.files.csv_rows import Header
from .quiet_hours.files.rows import Row, rows
from .quiet_hours.notification.admission import admit
from .quiet_hours.notification.bundle import Item, pack
from .quiet_hours.notification.fields import is_id
from .quiet_hours.notification.notification import NOTIFICATION_BYTES_MAX
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import CAMPAIGN_PROGRESS, Settings
from .quiet_hours.stores.clients import SERVICE_ERRORS, client_config, error_code
from .quiet_hours.stores.queues import send

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

REJECTED, REPORT = ".rejected.jsonl", ".report.json"

ROWS_A_BATCH, BATCH_BYTES = 1_000, 4 * 1024 * 1024
"""Ten full bundles of short notifications, which are one call; fewer rows if they are long."""

ROW_SHOWN_CHARACTERS = 3 * NOTIFICATION_BYTES_MAX
"""The number of characters of a rejected row that are shown. A longer row is no notification, even if every letter of
two bytes or more is written as an escape of six characters."""

PART_BYTES = 8 * 1024 * 1024
"""The bytes of rejected rows that are kept in memory. S3 takes parts of an upload from 5 MiB on."""

SAVE_EVERY_ROWS = 100_000
STOP_BEFORE_S = 30
AGAIN_AT_ONCE_S, AGAIN_LATER_S = 0, 600
"""The delay before the next run. After a failure of S3 or SQS it is longer: 150 receives then cover a day of outage."""

GONE = ("NoSuchKey", "404", "PreconditionFailed", "412")

logger = Logger()


@dataclass
class Progress:
    """The progress of a file: the next byte and line, the counts so far, and the rejected rows that are uploaded in
    parts. `tail` holds the rejected rows that do not fill a part yet."""

    offset: int = 0
    line: int = 1
    columns: list[str] = field(default_factory=list)
    separator: str = ","
    accepted: int = 0
    rejected: int = 0
    upload_id: str = ""
    parts: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    tail_bytes: int = 0


@cache
def _clients() -> tuple[Any, Any]:
    config = client_config(connect_timeout_s=2, read_timeout_s=10, attempts=3)
    return boto3.client("s3", config=config), boto3.client("sqs", config=config)


@redact_errors(logger)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take an SQS event whose messages are S3's, and return the partial batch response. An unfinished file comes
    again."""
    s3, sqs = _clients()
    settings = Settings.from_env()
    failed = []
    for record in event["Records"]:
        again_s: int | None = None
        for bucket, uploaded in _uploads(record["body"]):
            campaign = Campaign(s3, sqs, settings, bucket, uploaded["key"], uploaded["eTag"], uploaded["size"])
            left = campaign.go_on(lambda: datetime.now(UTC), lambda: context.get_remaining_time_in_millis() / 1000)
            again_s = again_s if left is None else left
        if again_s is not None:
            sqs.change_message_visibility(
                QueueUrl=settings.campaign_queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=again_s
            )
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}


def _uploads(body: str) -> list[tuple[str, dict[str, Any]]]:
    """The bucket and the object of each upload in a message. Folders, S3's test and our own files are none."""
    found = [(each["s3"]["bucket"]["name"], each["s3"]["object"]) for each in json.loads(body).get("Records", [])]
    found = [(bucket, uploaded | {"key": unquote_plus(uploaded["key"])}) for bucket, uploaded in found]
    return [(bucket, each) for bucket, each in found if not each["key"].endswith(("/", REJECTED, REPORT))]


@dataclass(frozen=True)
class Campaign:
    """One file. `etag` stands for its content: a file that is replaced in the meantime is another one."""

    s3: Any
    sqs: Any
    settings: Settings
    bucket: str
    key: str
    etag: str
    size: int

    def go_on(self, now: Callable[[], datetime], remaining_s: Callable[[], float]) -> int | None:
        """Accept rows until the file ends, time runs short or a call fails.

        Returns None at the file's end, else the delay in seconds before the next run. Raises what S3 raises if the
        progress cannot be read or written.
        """
        if self._is_reported():
            return None
        try:
            return self._go_on(self._saved(), now, remaining_s)
        except ClientError as fault:
            if error_code(fault) != "NoSuchUpload":
                raise
            self._save(Progress())  # another run of the same file has ended the upload: start over, and be absorbed
            return AGAIN_LATER_S

    def _go_on(self, progress: Progress, now: Callable[[], datetime], remaining_s: Callable[[], float]) -> int | None:
        error = again_s = None
        try:
            again_s = self._accept(progress, now, remaining_s)
        except UnreadableFile as fault:
            error = str(fault)
        except ClientError as fault:
            if error_code(fault) not in GONE:
                raise
            error = "the file was deleted or replaced before its end; what was accepted until then stays accepted"
        shown = {"etag": self.etag, "accepted": progress.accepted, "rejected": progress.rejected}
        if again_s is not None:
            self._save(progress)
            logger.info("campaign goes on", extra=shown)
            return again_s
        self._finish(progress, error, now())
        logger.info("campaign", extra=shown | {"readable": error is None})
        return None

    def _accept(self, progress: Progress, now: Callable[[], datetime], remaining_s: Callable[[], float]) -> int | None:
        if progress.offset >= self.size > 0:
            return None
        read = self._reader(progress.offset)
        header = Header(progress.columns, progress.separator)
        found, header = rows(self.key, read, offset=progress.offset, line=progress.line, header=header)
        progress.columns, progress.separator = list(header.columns), header.separator
        unsaved = 0
        while True:
            try:
                batch = _batch(found, progress.offset)
            except SERVICE_ERRORS as fault:
                logger.warning("campaign file not read on", extra={"code": error_code(fault)})
                return AGAIN_LATER_S
            if not batch:
                return None
            items, rejected = judge(batch, self.etag, now(), self.settings)
            if not_taken := send(self.sqs, self.settings.notification_queue_url, pack(items)):
                logger.warning("campaign not taken", extra={"codes": sorted(set(not_taken.values()))})
                return AGAIN_LATER_S
            progress.offset, progress.line = batch[-1].end, batch[-1].next_line
            progress.accepted += len(items)
            progress.rejected += len(rejected)
            progress.tail += rejected
            progress.tail_bytes += sum(len(each.encode()) for each in rejected)
            unsaved += len(batch)
            if full := progress.tail_bytes >= PART_BYTES:
                self._upload_part(progress)
            if remaining_s() < STOP_BEFORE_S:
                return AGAIN_AT_ONCE_S
            if full or unsaved >= SAVE_EVERY_ROWS:
                self._save(progress)
                unsaved = 0

    def _reader(self, offset: int) -> Callable[[int], bytes]:
        if self.size == 0:
            return lambda size: b""
        answer = self.s3.get_object(
            Bucket=self.bucket, Key=self.key, IfMatch=f'"{self.etag}"', Range=f"bytes={offset}-"
        )
        read: Callable[[int], bytes] = answer["Body"].read
        return read

    # --- what is written beside the file

    @property
    def _progress_key(self) -> str:
        return CAMPAIGN_PROGRESS + sha256(f"{self.key}\0{self.etag}".encode()).hexdigest() + ".json"

    def _is_reported(self) -> bool:
        found = self._json(self.key + REPORT)
        return found is not None and found.get("etag") == self.etag

    def _saved(self) -> Progress:
        found = self._json(self._progress_key)
        return Progress() if found is None else Progress(**found)

    def _json(self, key: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.load(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"])
        except ClientError as error:
            if error_code(error) in GONE:
                return None
            raise
        return found

    def _save(self, progress: Progress) -> None:
        body = json.dumps(asdict(progress), ensure_ascii=False).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self._progress_key, Body=body)

    def _upload_part(self, progress: Progress) -> None:
        there = {"Bucket": self.bucket, "Key": self.key + REJECTED}
        if not progress.upload_id:
            made = self.s3.create_multipart_upload(**there, ContentType="application/jsonl")
            progress.upload_id = made["UploadId"]
        part = self.s3.upload_part(
            **there,
            UploadId=progress.upload_id,
            PartNumber=len(progress.parts) + 1,
            Body="".join(progress.tail).encode(),
        )
        progress.parts.append(part["ETag"])
        progress.tail, progress.tail_bytes = [], 0

    def _finish(self, progress: Progress, error: str | None, now: datetime) -> None:
        there = {"Bucket": self.bucket, "Key": self.key + REJECTED}
        if progress.parts:
            if progress.tail:
                self._upload_part(progress)
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(progress.parts, start=1)]
            self.s3.complete_multipart_upload(**there, UploadId=progress.upload_id, MultipartUpload={"Parts": parts})
        elif progress.tail:
            body = "".join(progress.tail).encode()
            self.s3.put_object(**there, Body=body, ContentType="application/jsonl")
        report = {
            "etag": self.etag,
            "accepted": progress.accepted,
            "rejected": progress.rejected,
            "rejected_rows": self.key + REJECTED if progress.rejected else None,
            "error": error,
            "finished_at": now.isoformat(timespec="seconds"),
        }
        body = json.dumps(report, ensure_ascii=False, indent=2).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self.key + REPORT, Body=body, ContentType="application/json")
        self.s3.delete_object(Bucket=self.bucket, Key=self._progress_key)


def _batch(found: Iterator[Row], offset: int) -> list[Row]:
    """The next rows, which begin at `offset`: as many as one step takes, none at the end."""
    batch: list[Row] = []
    for row in found:
        batch.append(row)
        if len(batch) == ROWS_A_BATCH or row.end - offset >= BATCH_BYTES:
            break
    return batch


def judge(batch: Sequence[Row], etag: str, now: datetime, settings: Settings) -> tuple[list[Item], list[str]]:
    """Return the items of the accepted rows, and for each other row a line of JSON with the reason."""
    items: list[Item] = []
    rejected: list[str] = []
    for row in batch:
        try:
            if row.errors:
                raise Invalid(row.errors)
            items.append(admit(row.candidate, default_id=f"campaign:{etag}:{row.line}", now=now, settings=settings))
        except Invalid as invalid:
            given = row.candidate.get("id") if isinstance(row.candidate, dict) else None
            shown = {"line": row.line, "id": given if is_id(given) else None, "errors": invalid.errors}
            shown["row"] = row.text[:ROW_SHOWN_CHARACTERS]
            rejected.append(json.dumps(shown, ensure_ascii=False) + "\n")
    return items, rejected
