"""The campaign bucket: a file that is dropped into it becomes a message on the campaign queue."""

from __future__ import annotations

import hashlib

from aws_cdk import Acknowledgment, Duration, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.names import name_prefix
from infra.permissions import SEND, allow
from infra.queues import KEEP
from lambdas.quiet_hours.settings import CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS, CAMPAIGN_UPLOADS

FORGET_AFTER = Duration.days(30)
"""Campaign files hold addresses and texts: they are deleted as early as logs are."""

HASH_CHARACTERS = 6
PREFIX_CHARACTERS_MAX = 63 - len("-hashed-campaigns-123456789012-us-isof-south-1")
"""A bucket's name has at most 63 characters. Hash, our own word, account and the longest region take the rest."""

_DEFAULT_PREFIX = "QuietHours"
"""The name of the default stack. Its bucket has no hash: earlier versions have made it."""


def bucket_name(scope: Construct) -> str:
    """Return the name of the bucket.

    It is in small letters, as S3 demands. A hash of the prefix tells stacks apart whose names differ only in case.
    """
    stack, prefix = Stack.of(scope), name_prefix(scope, PREFIX_CHARACTERS_MAX)
    small = prefix.lower()
    without_hash = _DEFAULT_PREFIX if small == _DEFAULT_PREFIX.lower() else small
    if prefix != without_hash:
        small += f"-{hashlib.sha256(prefix.encode()).hexdigest()[:HASH_CHARACTERS]}"
    return f"{small}-campaigns-{stack.account}-{stack.region}"


def campaign_bucket(scope: Construct, queue: sqs.Queue) -> s3.Bucket:
    """Make the bucket, private. It stays when the stack goes, like everything that holds notifications."""
    stack = Stack.of(scope)
    # The name is given, because the queue's policy must let this bucket in before it is made.
    name = bucket_name(scope)
    bucket = s3.Bucket(
        scope,
        "CampaignBucket",
        bucket_name=name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        lifecycle_rules=[
            s3.LifecycleRule(expiration=FORGET_AFTER, abort_incomplete_multipart_upload_after=Duration.days(7))
        ],
        removal_policy=KEEP,
    )
    arn = stack.format_arn(service="s3", region="", account="", resource=name)
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("s3.amazonaws.com")],
            actions=SEND,
            resources=[queue.queue_arn],
            conditions={"ArnEquals": {"aws:SourceArn": arn}, "StringEquals": {"aws:SourceAccount": stack.account}},
        )
    )
    _notify(queue, bucket)
    Validations.of(bucket).acknowledge(
        Acknowledgment(
            id="AwsSolutions-S1",
            reason="Only one function and the operators may read and write here, and CloudTrail's data events record "
            "who did. A bucket of access logs would only keep the names of campaigns.",
        )
    )
    return bucket


def _notify(queue: sqs.Queue, bucket: s3.Bucket) -> None:
    """Put a message on the queue for each file that is dropped into the bucket."""
    # L1: `add_event_notification` would bring a function of CDK's own that may change every bucket's notifications.
    made = bucket.node.default_child
    assert isinstance(made, s3.CfnBucket)
    made.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
        queue_configurations=[
            s3.CfnBucket.QueueConfigurationProperty(
                event="s3:ObjectCreated:*",
                queue=queue.queue_arn,
                filter=s3.CfnBucket.NotificationFilterProperty(
                    s3_key=s3.CfnBucket.S3KeyFilterProperty(
                        rules=[s3.CfnBucket.FilterRuleProperty(name="prefix", value=CAMPAIGN_UPLOADS)]
                    )
                ),
            )
        ]
    )
    policy = queue.node.find_child("Policy").node.default_child
    assert isinstance(policy, sqs.CfnQueuePolicy)
    made.add_resource_dependency(policy)


def acknowledge_objects(bucket: s3.Bucket, function: lambda_.Function) -> None:
    """Tell cdk-nag why the function's permissions have wildcards: objects have no names before they are there."""
    made = bucket.node.default_child
    assert isinstance(made, s3.CfnBucket) and function.role is not None
    arn = f"<{bucket.stack.get_logical_id(made)}.Arn>"
    objects = {
        CAMPAIGN_UPLOADS: "the files that people drop",
        CAMPAIGN_PROGRESS: "their progress",
        CAMPAIGN_REPORTS: "their reports",
    }
    for prefix, what in objects.items():
        Validations.of(function.role).acknowledge(
            Acknowledgment(id=f"AwsSolutions-IAM5[Resource::{arn}/{prefix}*]", reason=f"Objects of one bucket: {what}.")
        )


def read_and_report(bucket: s3.Bucket) -> list[iam.PolicyStatement]:
    """Allow what the campaign function does with the bucket's objects. It writes nothing where people drop their files.

    The function may list the bucket. Otherwise S3 would answer "forbidden" instead of "not found" for an object that
    does not exist, and the function could not tell that there is no progress yet.
    """
    prefixes = (CAMPAIGN_UPLOADS, CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS)
    uploads, progress, reports = (bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes)
    return [
        allow(["s3:GetObject"], uploads),
        allow(["s3:GetObject", "s3:PutObject"], progress, reports),
        allow(["s3:DeleteObject"], progress),
        allow(["s3:ListBucket"], bucket.bucket_arn),
    ]
