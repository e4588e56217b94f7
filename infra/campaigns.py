"""The campaign bucket: a file that is dropped into it becomes a message on the campaign queue."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Duration, RemovalPolicy, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from infra.function import may
from lambdas.quiet_hours.settings import CAMPAIGN_PROGRESS, CAMPAIGN_UPLOADS

FORGET_AFTER = Duration.days(30)
"""Campaign files hold addresses and texts: they go as logs do."""


def campaign_bucket(stack: Stack, queue: sqs.Queue) -> s3.Bucket:
    """Private, and kept when the stack goes, like everything that holds notifications."""
    # By name: the bucket refers to the queue whose policy must let this very bucket in, before it is made.
    name = f"{stack.stack_name.lower()}-campaigns-{stack.account}-{stack.region}"
    bucket = s3.Bucket(
        stack,
        "CampaignBucket",
        bucket_name=name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        lifecycle_rules=[
            s3.LifecycleRule(expiration=FORGET_AFTER, abort_incomplete_multipart_upload_after=Duration.days(7))
        ],
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    )
    queue.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("s3.amazonaws.com")],
            actions=["sqs:SendMessage"],
            resources=[queue.queue_arn],
            conditions={
                "ArnEquals": {"aws:SourceArn": stack.format_arn(service="s3", region="", account="", resource=name)},
                "StringEquals": {"aws:SourceAccount": stack.account},
            },
        )
    )
    # `add_event_notification` would bring a function of CDK's own that may change every bucket's notifications.
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
    Validations.of(bucket).acknowledge(
        Acknowledgment(
            id="AwsSolutions-S1",
            reason="Who may read and write here is one function and the operators; CloudTrail's data events tell who "
            "did, and a bucket of access logs would hold the names of campaigns for nobody.",
        )
    )
    return bucket


def acknowledge_objects(bucket: s3.Bucket, function: lambda_.Function) -> None:
    """To cdk-nag, `*` is a wildcard; but objects have no names before they are there."""
    made = bucket.node.default_child
    assert isinstance(made, s3.CfnBucket) and function.role is not None
    arn = f"<{bucket.stack.get_logical_id(made)}.Arn>"
    for prefix, what in ((CAMPAIGN_UPLOADS, "the files that people drop"), (CAMPAIGN_PROGRESS, "how far they are")):
        Validations.of(function.role).acknowledge(
            Acknowledgment(id=f"AwsSolutions-IAM5[Resource::{arn}/{prefix}*]", reason=f"Objects of one bucket: {what}.")
        )


def work_on(bucket: s3.Bucket) -> list[iam.PolicyStatement]:
    """What the campaign function does with the bucket's objects. Listing: without it S3 answers "forbidden" where an
    object does not exist, and whether there is progress already could not be known."""
    uploads, progress = (bucket.arn_for_objects(f"{prefix}*") for prefix in (CAMPAIGN_UPLOADS, CAMPAIGN_PROGRESS))
    return [
        may(["s3:GetObject", "s3:PutObject"], uploads, progress),
        may(["s3:DeleteObject"], progress),
        may(["s3:ListBucket"], bucket.bucket_arn),
    ]
