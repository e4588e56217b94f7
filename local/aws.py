"""Clients of the embedded AWS that can reach nothing else: dummy keys, one endpoint, no profile, no proxy."""

from __future__ import annotations

import json
import os
import sys
import urllib.parse
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

ACCOUNT = "000000000000"
REGION = "us-east-1"
ACCESS_KEY = "test"

_NOWHERE = (None, None, os.devnull, None)


def child_environment(endpoint: str) -> dict[str, str]:
    """Return the caller's environment for a child such as the CDK CLI, which then cannot reach a real account."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]))
    return (
        ours
        | shell_environment(endpoint)
        | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
    )


def shell_environment(endpoint: str) -> dict[str, str]:
    """Return the variables that point any AWS SDK or CLI at the embedded AWS."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@cache
def client(endpoint: str, service: str, of_function: Config | None = None) -> Any:
    """Return a boto3 client of the embedded AWS, whatever the environment says. Clients are shared between threads.

    `of_function` is the configuration that a function gives to its own client.
    """
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": _NOWHERE,
            "credentials_file": _NOWHERE,
        }
    )
    session.set_credentials(ACCESS_KEY, ACCESS_KEY)
    # {} means no proxies; None would read the environment. The scheduler may take five minutes to answer.
    config = Config(proxies={}, read_timeout=330, max_pool_connections=32, retries={"mode": "standard"})
    return boto3.Session(botocore_session=session, region_name=REGION).client(
        service, endpoint_url=endpoint, config=config.merge(of_function) if of_function else config
    )


def peek(endpoint: str, queue_url: str) -> list[dict[str, Any]]:
    """Return every message on a queue, visible or in flight, without receiving any.

    Only the embedded AWS can do this. No receive count changes, and no consumer notices. Messages have `MessageId`,
    `Body`, `ReceiveCount`, `IsVisible`, `MessageAttributes`.
    """
    query = urllib.parse.urlencode({"QueueUrl": queue_url, "account": ACCOUNT, "region": REGION})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/_ministack/sqs/messages?{query}", timeout=30) as answer:
        queues = json.load(answer)["messages"].get(ACCOUNT, {}).get(REGION, {})
    return [message for messages in queues.values() for message in messages]
