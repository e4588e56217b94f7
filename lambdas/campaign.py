"""The campaign function: accepts the rows of a file that was dropped into the campaign bucket, however many they are.

It reads the file as a stream and puts its rows on the notification queue in bundles. When time runs short it saves its
progress in the bucket, and the same message comes again at once, to go on from there. Rows that are sent twice after a
crash are absorbed: a row without an id is known by a digest of the file's bytes and its line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import ClientError

from .quiet_hours.errors import Invalid, Unreadable, UnreadableFile
from .quiet_hours.files.csv_rows import Header
from .quiet_hours.files.digest import PART_BYTES as DIGEST_PART_BYTES
from .quiet_hours.files.digest import START, next_digest
from .quiet_hours.files.rows import Row, rows
from .quiet_hours.files.seen import Seen
from .quiet_hours.files.uploads import Upload, is_test, uploads
from .quiet_hours.notification.admission import admit
from .quiet_hours.notification.bundle import Item, pack
from .quiet_hours.notification.fields import is_id
from .quiet_hours.notification.notification import NOTIFICATION_BYTES_MAX
from .quiet_hours.redaction import redact_errors
from .quiet_hours.settings import CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS, CAMPAIGN_UPLOADS, Settings
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

OLDER_REPORT_BYTES_MAX = 16 * 1024

GONE = ("NoSuchKey", "404", "PreconditionFailed", "412")

logger = Logger()


@dataclass
class Progress:
    """The progress of a file: the next byte and line, the counts so far, and the rejected rows that are uploaded in
    parts. `tail` holds the rejected rows that do not fill a part yet.

    `file_id` names the file in the ids of its rows. It is the digest of the bytes, known after a first reading:
    `digest` is that of the first `digested` bytes. A file that an older version has begun keeps that version's name for
    it, the ETag.
    """

    offset: int = 0
    line: int = 1
    columns: list[str] = field(default_factory=list)
    separator: str = ","
    accepted: int = 0
    rejected: int = 0
    repeated_ids: int = 0
    repeated_addresses: int = 0
    upload_id: str = ""
    parts: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    tail_bytes: int = 0
    file_id: str = ""
    digest: str = START.hex()
    digested: int = 0


class SeenInFile(NamedTuple):
    """The ids that the rows of a file have given, and the addresses of those that were accepted."""

    ids: Seen
    addresses: Seen


class Judged(NamedTuple):
    """The items of the rows that are accepted, a line of JSON for each other row that says why it is not, and how many
    ids and addresses stood in the file before."""

    items: list[Item]
    rejected: list[str]
    repeated_ids: int
    repeated_addresses: int


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

    def go_on(self, now: Callable[[], datetime], remaining_s: Callable[[], float]) -> int | None:
        """Accept rows until the file ends, time runs short or a call fails.

        Returns None at the file's end, else the delay in seconds before the next run. Raises what S3 raises if the
        progress cannot be read or written.
        """
        report = self._json(self._report_key) or {}
        if report.get("etag") == self.etag and report.get("sequencer") == self.sequencer:
            return None
        progress = self._saved()
        try:
            return self._go_on(progress, report, now, remaining_s)
        except ClientError as fault:
            if error_code(fault) != "NoSuchUpload":
                raise
            # another run of the same file has ended the upload: start over, and be absorbed
            self._save(Progress(file_id=progress.file_id), self._seen())
            return AGAIN_LATER_S

    def _go_on(
        self, progress: Progress, report: dict[str, Any], now: Callable[[], datetime], remaining_s: Callable[[], float]
    ) -> int | None:
        error = again_s = None
        seen = self._seen()
        try:
            again_s = self._identify(progress, remaining_s)
            if again_s is None and progress.file_id == report.get("digest") and not report["error"]:
                self._report(report | {"dropped_again_at": now().isoformat(timespec="seconds")})
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
            self._save(progress, seen)
            logger.info("campaign goes on", extra=shown)
            return again_s
        self._finish(progress, seen, error, now())
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
                self._upload_part(progress)
            if remaining_s() < STOP_BEFORE_S:
                return AGAIN_AT_ONCE_S
            if full or unsaved >= SAVE_EVERY_ROWS:
                self._save(progress, seen)
                unsaved = 0

    def _reader(self, offset: int) -> Callable[[int], bytes]:
        if self.size == 0:
            return lambda size: b""
        answer = self.s3.get_object(
            Bucket=self.bucket, Key=self.key, IfMatch=f'"{self.etag}"', Range=f"bytes={offset}-"
        )
        read: Callable[[int], bytes] = answer["Body"].read
        return read

    # --- what is written into the bucket

    @property
    def _progress_key(self) -> str:
        return CAMPAIGN_PROGRESS + sha256(f"{self.key}\0{self.etag}".encode()).hexdigest() + ".json"

    def _seen_key(self, name: str) -> str:
        return self._progress_key.removesuffix("json") + name

    @property
    def _report_key(self) -> str:
        return CAMPAIGN_REPORTS + self.key + REPORT

    @property
    def _rejected_key(self) -> str:
        return CAMPAIGN_REPORTS + self.key + REJECTED

    def _saved(self) -> Progress:
        """The progress of an earlier run.

        A file that an older version has begun or read keeps that version's ids, so that nobody gets it twice. Where
        that version has begun an upload beside the file, which this one may not write, the rows are read again and
        absorbed.
        """
        found = self._json(self._progress_key)
        if found is None:
            return Progress(file_id=self.etag if self._has_older_report() else "")
        if "file_id" not in found:
            return Progress(file_id=self.etag) if found.get("parts") else Progress(file_id=self.etag, **found)
        return Progress(**found)

    def _has_older_report(self) -> bool:
        """True if a report of an older version stands beside the file. Whoever uploads could write one: so it does not
        say that the file is done, only by which ids it may have been read."""
        found = self._object(self.key + REPORT, OLDER_REPORT_BYTES_MAX)
        try:
            report = json.loads(found or b"{}")
        except (ValueError, RecursionError):
            return False
        return isinstance(report, dict) and report.get("etag") == self.etag

    def _seen(self) -> SeenInFile:
        return SeenInFile(*(Seen(self._object(self._seen_key(name)) or b"") for name in SeenInFile._fields))

    def _json(self, key: str) -> dict[str, Any] | None:
        if (found := self._object(key)) is None:
            return None
        parsed: dict[str, Any] = json.loads(found)
        return parsed

    def _object(self, key: str, bytes_max: int | None = None) -> bytes | None:
        try:
            body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read(bytes_max)
        except ClientError as error:
            if error_code(error) in GONE:
                return None
            raise
        return body

    def _save(self, progress: Progress, seen: SeenInFile) -> None:
        # The progress comes last. What is remembered of lines that are read again does no harm.
        for name, each in seen._asdict().items():
            if each:
                self.s3.put_object(Bucket=self.bucket, Key=self._seen_key(name), Body=each.to_bytes())
        body = json.dumps(asdict(progress), ensure_ascii=False).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self._progress_key, Body=body)

    def _upload_part(self, progress: Progress) -> None:
        there = {"Bucket": self.bucket, "Key": self._rejected_key}
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

    def _finish(self, progress: Progress, seen: SeenInFile, error: str | None, now: datetime) -> None:
        there = {"Bucket": self.bucket, "Key": self._rejected_key}
        if progress.parts:
            if progress.tail:
                self._upload_part(progress)
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(progress.parts, start=1)]
            self.s3.complete_multipart_upload(**there, UploadId=progress.upload_id, MultipartUpload={"Parts": parts})
        elif progress.tail:
            body = "".join(progress.tail).encode()
            self.s3.put_object(**there, Body=body, ContentType="application/jsonl")
        missed = [each.missed_from for each in seen if each.missed_from]
        self._report(
            {
                "digest": progress.file_id if progress.file_id != self.etag else None,
                "accepted": progress.accepted,
                "rejected": progress.rejected,
                "repeated_ids": progress.repeated_ids,
                "repeated_addresses": progress.repeated_addresses,
                "repeats_counted_before_line": min(missed) if missed else None,
                "rejected_rows": self._rejected_key if progress.rejected else None,
                "error": error,
                "finished_at": now.isoformat(timespec="seconds"),
            }
        )

    def _report(self, report: dict[str, Any]) -> None:
        """Write the report for this upload of the file, and forget the progress."""
        named = report | {"etag": self.etag, "sequencer": self.sequencer}
        body = json.dumps(named, ensure_ascii=False, indent=2).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self._report_key, Body=body, ContentType="application/json")
        for key in (self._progress_key, *map(self._seen_key, SeenInFile._fields)):
            self.s3.delete_object(Bucket=self.bucket, Key=key)


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


def judge(batch: Sequence[Row], file_id: str, seen: SeenInFile, now: datetime, settings: Settings) -> Judged:
    """Accept the rows that are right. Of several rows with one id, only the first is."""
    items: list[Item] = []
    rejected: list[str] = []
    repeated_ids = repeated_addresses = 0
    for row in batch:
        given = row.candidate.get("id") if isinstance(row.candidate, dict) else None
        try:
            if row.errors:
                raise Invalid(row.errors)
            item = admit(row.candidate, default_id=f"campaign:{file_id}:{row.line}", now=now, settings=settings)
            if given is not None and (line := seen.ids.earlier_line(given, row.line)):
                repeated_ids += 1
                raise Invalid([f"id: stands in line {line} already"])
        except Invalid as invalid:
            shown = {"line": row.line, "id": given if is_id(given) else None, "errors": invalid.errors}
            shown["row"] = row.text[:ROW_SHOWN_CHARACTERS]
            rejected.append(json.dumps(shown, ensure_ascii=False) + "\n")
        else:
            items.append(item)
            whom = f"{item.notification['channel']} {item.notification['address']}"
            repeated_addresses += seen.addresses.earlier_line(whom, row.line) is not None
    return Judged(items, rejected, repeated_ids, repeated_addresses)
