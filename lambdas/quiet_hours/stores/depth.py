"""The depth of the notification queue, for whoever brings many messages and can wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

DEEP = 500
"""A notification queue with more messages is deep: campaigns and redrives pause, so that what others put there with
plain `sqs:SendMessage` is judged within 10 s. Two consumers take ten messages each in about 130 ms if these are full
bundles, so they pass 500 in 3.3 s, and still within 10 s if they are three times slower. SQS counts approximately, and
each who brings many overshoots by what it sends between two looks: ten messages for a campaign, a hundred for a
redrive."""


def depth(sqs: SQSClient, queue_url: str) -> int:
    """The approximate number of messages that wait. Raises what the client raises."""
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])
