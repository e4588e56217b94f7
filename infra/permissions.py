"""Permissions: each use of a resource, with the actions that it needs and no more."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Acknowledgment, Stack, Token, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_

SEND = ["sqs:SendMessage"]
DRAIN = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
LOOK = ["sqs:GetQueueAttributes"]
CONSUME = [*DRAIN, *LOOK]
CONSUME_AND_DEFER = [*CONSUME, "sqs:ChangeMessageVisibility"]
# DynamoDB authorises a transaction as the puts that it consists of.
READ_CONSENT = ["dynamodb:BatchGetItem"]
KEEP_LEDGER = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:BatchWriteItem"]
BOOK_TURNS = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
ANSWER = ["dynamodb:GetItem"]
CANCEL = ["dynamodb:PutItem"]
KEEP_CONSENT = ["dynamodb:PutItem"]
RECORD_HELD = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"]
READ_NEWEST = ["dynamodb:BatchGetItem"]
NOTE_NEWEST = ["dynamodb:PutItem"]
LIST = ["dynamodb:Query"]
READ_SECRET = ["secretsmanager:GetSecretValue"]
PUBLISH = ["sns:Publish"]
DECRYPT = ["kms:Decrypt"]

CHANNEL_ACTIONS = {
    "ses:SendEmail": ("ses", ["identity", "configuration-set"]),
    "sms-voice:SendTextMessage": ("sms-voice", ["phone-number", "pool", "sender-id"]),
    "sns:Publish": ("sns", ["endpoint"]),
}
"""The calls of AWS's own channels: the service and the kinds of resources that each call uses."""


def allow(actions: Sequence[str], *resource_arns: str) -> iam.PolicyStatement:
    """Spell out a permission. CDK's `grant_*` methods allow more than the functions use."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resource_arns))


def call_channels(stack: Stack) -> list[iam.PolicyStatement]:
    """Allow the calls of AWS's own channels, on all resources of this account that are of the kinds used.

    They may be in any region: which one a channel uses is a setting in the channel secret.
    """
    return [
        allow(
            [action],
            *(stack.format_arn(service=service, region="*", resource=kind, resource_name="*") for kind in kinds),
        )
        for action, (service, kinds) in CHANNEL_ACTIONS.items()
    ]


def acknowledge_channels(worker: lambda_.Function) -> None:
    """Tell cdk-nag why the channels' permissions have wildcards."""
    assert worker.role is not None
    partition, account = (
        f"<{reference}>" if Token.is_unresolved(value) else value
        for value, reference in ((worker.stack.partition, "AWS::Partition"), (worker.stack.account, "AWS::AccountId"))
    )
    for service, kinds in CHANNEL_ACTIONS.values():
        for kind in kinds:
            resource = f"Resource::arn:{partition}:{service}:*:{account}:{kind}/*"
            reason = "The channel secret or a device names the one that is used: the stack does not know it."
            Validations.of(worker.role).acknowledge(Acknowledgment(id=f"AwsSolutions-IAM5[{resource}]", reason=reason))
