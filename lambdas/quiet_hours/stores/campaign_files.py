"""The objects that stand in the bucket for one campaign file: its progress, its rejected rows and its report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from botocore.exceptions import ClientError

from ..files.digest import START
from ..files.seen import Seen, SeenInFile
from ..settings import CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS
from .clients import error_code

REJECTED, REPORT = ".rejected.jsonl", ".report.json"

OLDER_REPORT_BYTES_MAX = 16 * 1024

GONE = ("NoSuchKey", "404", "PreconditionFailed", "412")


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


@dataclass(frozen=True)
class Records:
    """The objects for one upload of a file, of which `etag` and `sequencer` tell the content and the upload.

    Every method raises what S3 raises.
    """

    s3: Any
    bucket: str
    key: str
    etag: str
    sequencer: str

    def report(self) -> dict[str, Any]:
        """Return the report of the file's last end, empty if there is none."""
        return self._json(self._report_key) or {}

    @property
    def _progress_key(self) -> str:
        return CAMPAIGN_PROGRESS + sha256(f"{self.key}\0{self.etag}".encode()).hexdigest() + ".json"

    def _seen_key(self, name: str) -> str:
        return self._progress_key.removesuffix("json") + name

    @property
    def _report_key(self) -> str:
        return CAMPAIGN_REPORTS + self.key + REPORT

    @property
    def rejected_key(self) -> str:
        return CAMPAIGN_REPORTS + self.key + REJECTED

    def saved(self) -> Progress:
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

    def seen(self) -> SeenInFile:
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

    def save(self, progress: Progress, seen: SeenInFile) -> None:
        # The progress comes last. What is remembered of lines that are read again does no harm.
        for name, each in seen._asdict().items():
            if each:
                self.s3.put_object(Bucket=self.bucket, Key=self._seen_key(name), Body=each.to_bytes())
        body = json.dumps(asdict(progress), ensure_ascii=False).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self._progress_key, Body=body)

    def upload_part(self, progress: Progress) -> None:
        there = {"Bucket": self.bucket, "Key": self.rejected_key}
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

    def finish(self, progress: Progress, seen: SeenInFile, error: str | None, now: datetime) -> None:
        there = {"Bucket": self.bucket, "Key": self.rejected_key}
        if progress.parts:
            if progress.tail:
                self.upload_part(progress)
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(progress.parts, start=1)]
            self.s3.complete_multipart_upload(**there, UploadId=progress.upload_id, MultipartUpload={"Parts": parts})
        elif progress.tail:
            body = "".join(progress.tail).encode()
            self.s3.put_object(**there, Body=body, ContentType="application/jsonl")
        missed = [each.missed_from for each in seen if each.missed_from]
        self.write_report(
            {
                "digest": progress.file_id if progress.file_id != self.etag else None,
                "accepted": progress.accepted,
                "rejected": progress.rejected,
                "repeated_ids": progress.repeated_ids,
                "repeated_addresses": progress.repeated_addresses,
                "repeats_counted_before_line": min(missed) if missed else None,
                "rejected_rows": self.rejected_key if progress.rejected else None,
                "error": error,
                "finished_at": now.isoformat(timespec="seconds"),
            }
        )

    def write_report(self, report: dict[str, Any]) -> None:
        """Write the report for this upload of the file, and forget the progress."""
        named = report | {"etag": self.etag, "sequencer": self.sequencer}
        body = json.dumps(named, ensure_ascii=False, indent=2).encode()
        self.s3.put_object(Bucket=self.bucket, Key=self._report_key, Body=body, ContentType="application/json")
        for key in (self._progress_key, *map(self._seen_key, SeenInFile._fields)):
            self.s3.delete_object(Bucket=self.bucket, Key=key)
