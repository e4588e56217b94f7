"""The ways in: how messages, events and published notifications reach the functions."""

from __future__ import annotations

from aws_cdk import Duration, Names
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.permissions import CONSUME, DECRYPT, SEND, allow
from infra.props import SharedBus

BATCH_WITHOUT_WINDOW = 10
"""The most messages that Lambda puts into one batch of a queue without a batching window. A FIFO queue has none."""

BATCH_WITH_WINDOW = 1000


def feed(
    scope: Construct, queue: sqs.IQueue, function: lambda_.Function, *, concurrency: int
) -> lambda_.EventSourceMapping:
    """Invoke `function` with one message of `queue` at a time. A message comes again when the answer names it."""
    return _source(
        scope, f"{queue.node.id}To{function.node.id}", queue, function, concurrency, batch_size=1, window_s=0
    )


def feed_batches(
    scope: Construct, queue: sqs.IQueue, function: lambda_.Function, *, concurrency: int, window_s: int
) -> None:
    """Invoke `function` with as many messages of `queue` as are there, or as arrive within `window_s`."""
    batch_size = BATCH_WITH_WINDOW if window_s else BATCH_WITHOUT_WINDOW
    _source(scope, f"{queue.node.id}To{function.node.id}", queue, function, concurrency, batch_size, window_s)


def feed_from_their_queue(scope: Construct, queue: sqs.IQueue, function: lambda_.Function, *, concurrency: int) -> None:
    """Invoke `function` with batches of a queue that belongs to somebody else, a FIFO queue included.

    Raises `ValueError` for a queue of this app without a dead-letter queue: a message that fails again and again would
    be dropped unseen when the queue's retention ends. An imported queue does not say whether it has one.
    """
    if isinstance(queue, sqs.Queue) and queue.dead_letter_queue is None:
        raise ValueError(f"the queue {queue.node.path} needs a dead-letter queue of its own to be a way in")
    id_ = f"{Names.node_unique_id(queue.node)}To{function.node.id}"
    window_s = None if queue.fifo else 0
    _source(scope, id_, queue, function, concurrency, BATCH_WITHOUT_WINDOW, window_s)


def read_their_queue(queue: sqs.IQueue) -> list[iam.PolicyStatement]:
    """Allow the consumer to read a queue that belongs to somebody else, and to decrypt its messages."""
    key = queue.encryption_master_key
    return [allow(CONSUME, queue.queue_arn), *([allow(DECRYPT, key.key_arn)] if key else [])]


def feed_from_bus(
    scope: Construct, prefix: str, shared: SharedBus | None, queue: sqs.Queue, dead_letter: sqs.Queue
) -> events.IEventBus:
    """Put `NotificationRequested` events on `queue`: all of an own bus, or those of our sources on a shared one."""
    bus = shared.bus if shared else events.EventBus(scope, "Bus", event_bus_name=prefix)
    pattern = {"detail-type": ["NotificationRequested"]} | ({"source": list(shared.sources)} if shared else {})
    # L1: the target of the L2 construct would also let EventBridge read the queue's attributes.
    rule = events.CfnRule(
        scope,
        "NotificationRequested",
        event_bus_name=bus.event_bus_name,
        event_pattern=pattern,
        targets=[
            events.CfnRule.TargetProperty(
                id="Queue",
                arn=queue.queue_arn,
                dead_letter_config=events.CfnRule.DeadLetterConfigProperty(arn=dead_letter.queue_arn),
                retry_policy=events.CfnRule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=Duration.hours(24).to_seconds(), maximum_retry_attempts=185
                ),
            )
        ],
    )
    for each in (queue, dead_letter):
        each.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=SEND,
                resources=[each.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": rule.attr_arn}},
            )
        )
    return bus


def feed_from_topic(topic: sns.ITopic, queue: sqs.Queue, dead_letter: sqs.Queue) -> None:
    """Put on `queue` what is published on the topic, in SNS's envelope: a notification or a bundle.

    The envelope has SNS's id of the message. A notification without an id gets its id from that, so it stays the same
    notification when SNS delivers it twice. SNS moves to dead-letter what the queue does not take, because it is too
    large.
    """
    topic.add_subscription(
        subscriptions.SqsSubscription(queue, raw_message_delivery=False, dead_letter_queue=dead_letter)
    )


def _source(
    scope: Construct,
    id_: str,
    queue: sqs.IQueue,
    function: lambda_.Function,
    concurrency: int,
    batch_size: int,
    window_s: int | None,
) -> lambda_.EventSourceMapping:
    return lambda_.EventSourceMapping(
        scope,
        id_,
        target=function,
        event_source_arn=queue.queue_arn,
        batch_size=batch_size,
        max_batching_window=None if window_s is None else Duration.seconds(window_s),
        max_concurrency=concurrency,
        report_batch_item_failures=True,
    )
