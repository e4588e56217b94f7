"""`make sam-env`: writes what `sam local invoke` needs to run a function against `make local`.

    python -m local.sam_env [HOST]

It writes an environment file, and an event for the campaign function that names a file which it has put into a bucket.
HOST is the name of this machine inside a container; host.docker.internal by default.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from urllib.parse import quote_plus, urlsplit

from commands.deployment import deployed_settings, read_outputs
from commands.run import run_command
from lambdas.quiet_hours.settings import Settings

from . import BUILD, ROOT, CommandError, server, shown
from .aws import client
from .deploy import OUTPUTS

FILE = BUILD / "sam-env.json"
CAMPAIGN_EVENT = BUILD / "sam-campaign.json"
HOST = "host.docker.internal"

CAMPAIGN_BUCKET = "quiet-hours-sam"
"""A bucket without notifications. In the stack's own bucket the stack would read the file first and leave its report,
and the function in the container would find nothing to do."""

CAMPAIGN_KEY = "campaigns/겨울 세일.csv"


def sam_environment(settings: Settings, endpoint: str) -> dict[str, dict[str, str]]:
    """Return what `sam local invoke --env-vars` reads. `endpoint` is the embedded AWS as the function reaches it."""
    there = urlsplit(endpoint)
    queue_urls = {
        field.name: urlsplit(getattr(settings, field.name))._replace(scheme=there.scheme, netloc=there.netloc).geturl()
        for field in fields(settings)
        if field.name.endswith("_queue_url")
    }
    return {"Parameters": {**replace(settings, **queue_urls).to_env(), "AWS_ENDPOINT_URL": endpoint}}


def put_campaign_file(s3: Any, now: datetime) -> dict[str, Any]:
    """Put a campaign file into a bucket, and return the event that names it.

    Each file is another one, because it holds the time. So no report of an earlier run stands for it.
    """
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):  # S3 raises this outside us-east-1 only
        s3.create_bucket(Bucket=CAMPAIGN_BUCKET)
    rows = ["channel,address,category,body", f"log,user-42,informational,배송이 시작되었습니다. ({now.isoformat()})"]
    file = "".join(f"{row}\n" for row in rows).encode()
    etag = s3.put_object(Bucket=CAMPAIGN_BUCKET, Key=CAMPAIGN_KEY, Body=file)["ETag"].strip('"')

    event: dict[str, Any] = json.loads((ROOT / "events" / "campaign-file.json").read_text(encoding="utf-8"))
    (record,) = event["Records"]
    message = json.loads(record["body"])
    uploaded = message["Records"][0]["s3"]
    uploaded["bucket"] |= {"name": CAMPAIGN_BUCKET, "arn": f"arn:aws:s3:::{CAMPAIGN_BUCKET}"}
    uploaded["object"] = {
        "key": quote_plus(CAMPAIGN_KEY, safe="/"),
        "size": len(file),
        "eTag": etag,
        "sequencer": f"{round(now.timestamp() * 1_000_000):016X}",
    }
    record["body"] = json.dumps(message, ensure_ascii=False)
    record["md5OfBody"] = md5(record["body"].encode(), usedforsecurity=False).hexdigest()
    return event


def main() -> None:
    """Write the files. Raises `CommandError` unless `make local` runs."""
    background = server.running_in_background()
    if background is None or not OUTPUTS.exists():
        raise CommandError("Nothing is running: `make local` starts it.")
    # Every function has the same settings: any of them will do.
    function_name = read_outputs(OUTPUTS)["ProducerFunctionName"]
    settings = deployed_settings(client(background.endpoint, "lambda"), function_name)
    host = sys.argv[1] if len(sys.argv) > 1 else HOST
    FILE.write_text(json.dumps(sam_environment(settings, f"http://{host}:{background.port}"), indent=2) + "\n")
    campaign = put_campaign_file(client(background.endpoint, "s3"), datetime.now(UTC))
    CAMPAIGN_EVENT.write_text(json.dumps(campaign, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    print(f"Written: {shown(FILE)} and {shown(CAMPAIGN_EVENT)}. docs/local.md says how to use them.")


if __name__ == "__main__":
    run_command(main)
