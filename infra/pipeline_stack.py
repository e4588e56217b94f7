"""The pipeline, from top to bottom: queues, tables, secret, functions, what feeds them, what starts them, outputs.

clients ─► Producer ───────────────┐
event bus ─► rule ─────────────────┤
<Notifications>, other services ───┼─► [Notification] ─► Consumer ─┬─ may go now ─► [Delivery] ─┐
bucket ─► [Campaign] ─► Campaign ──┘                               └─ held ─► [Wait]            ├─► Worker ─► provider
                  end of quiet hours, every minute ─► Scheduler: [Wait] ─► [Schedule] ──────────┘
every queue redrives to [DeadLetter]; alarms, Scheduler ─► <Alerts> ─► Alerter ─► Slack; e-mail
who keeps consents ─► Registrar ─► (Consent)
"""

from __future__ import annotations

from functools import partial

from aws_cdk import Acknowledgment, Annotations, CfnOutput, Duration, RemovalPolicy, SecretValue, Stack, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_scheduler as eventbridge_scheduler
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import asset
from infra.campaigns import acknowledge_objects, campaign_bucket, work_on
from infra.config import Config
from infra.function import ONE_CORE_MB, may, pipeline_function
from infra.observability import alert_topic, dashboard_url, tell, watch
from lambdas.quiet_hours.notification.bundle import BUNDLE_BYTES_MAX
from lambdas.quiet_hours.rule.policy import Policy
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import DUE_INDEX
from lambdas.quiet_hours.stores.held import SOURCE_INDEX
from lambdas.quiet_hours.timings import (
    ALERTER_TIMEOUT_S,
    CAMPAIGN_TIMEOUT_S,
    CONSUMER_TIMEOUT_S,
    LANE_VISIBILITY_S,
    PRODUCER_TIMEOUT_S,
    REGISTRAR_TIMEOUT_S,
    SCHEDULER_TIMEOUT_S,
    WAIT_VISIBILITY_S,
    WORKER_TIMEOUT_S,
)

# What each use needs and no more. A transaction is authorised as the puts that it is made of.
SEND = ["sqs:SendMessage"]
DRAIN = ["sqs:ReceiveMessage", "sqs:DeleteMessage"]
CONSUME = [*DRAIN, "sqs:GetQueueAttributes"]
READ_CONSENT = ["dynamodb:BatchGetItem"]
KEEP_LEDGER = ["dynamodb:PutItem", "dynamodb:BatchWriteItem"]
ANSWER = ["dynamodb:GetItem"]
CANCEL = ["dynamodb:PutItem"]
KEEP_CONSENT = ["dynamodb:PutItem"]
RECORD_HELD = ["dynamodb:BatchWriteItem"]
LIST = ["dynamodb:Query"]
READ_SECRET = ["secretsmanager:GetSecretValue"]
TELL = ["sns:Publish"]

CHANNEL_ACTIONS = {
    "ses:SendEmail": ("ses", ["identity", "configuration-set"]),
    "sms-voice:SendTextMessage": ("sms-voice", ["phone-number", "pool", "sender-id"]),
    "sns:Publish": ("sns", ["endpoint"]),
}

RETENTION = Duration.days(4)
# Counted from when the message entered its first queue, so it must be longer than the sources'.
DEAD_LETTER_RETENTION = Duration.days(14)
DEAD_LETTER_BYTES_MAX = 1024 * 1024  # the most that SQS takes: what anyone could send can be kept

# Throttles and outages use up receives too, one a visibility timeout. A lane's 240 are a day of outage, and are used up
# before the queue's retention is: what cannot be handled is moved to dead-letter, never dropped unseen.
LANE_RECEIVES_MAX = 240
ENTRY_RECEIVES_MAX = WAIT_RECEIVES_MAX = 1000

# A file that is worked on for long costs a receive each run, and these are over before the queue forgets the message.
CAMPAIGN_RECEIVES_MAX = 150
CAMPAIGN_CONCURRENCY = 2  # the least that an event source takes

# A trigger that comes late or twice is worth nothing: the next minute's is the retry.
TRIGGER_AGE_MAX = Duration.seconds(60)

# Goes away with a first deployment that fails; afterwards stays, whatever becomes of the stack.
KEEP = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE

NO_SENDER_NAME = (
    "senderName is empty: whether advertising names its sender, as Korean law asks, is not checked. "
    "Set it with -c senderName=NAME, or say -c advertisingLabel=false where the label is checked elsewhere."
)

CHANNEL_SECRET_NAME = "quiet-hours/channels"


class PipelineStack(Stack):
    """The whole deployment. Synthesis needs neither Docker nor credentials."""

    def __init__(self, scope: Construct, id_: str, config: Config) -> None:
        super().__init__(scope, id_, description="Quiet Hours: holds notifications over night, releases them by day")

        if config.advertising_label and config.policy.name == "korea" and not config.sender_name:
            Annotations.of(self).add_warning_v2("quiet-hours:senderName", NO_SENDER_NAME)

        # Queues
        dead_letter = self._dead_letter_queue(sources=["Notification", "Delivery", "Wait", "Schedule", "Campaign"])
        notification = self._queue(
            "Notification", 6 * CONSUMER_TIMEOUT_S + config.batching_window_s, dead_letter, ENTRY_RECEIVES_MAX
        )
        delivery = self._queue("Delivery", LANE_VISIBILITY_S, dead_letter, LANE_RECEIVES_MAX)
        wait = self._queue("Wait", WAIT_VISIBILITY_S, dead_letter, WAIT_RECEIVES_MAX)
        schedule = self._queue("Schedule", LANE_VISIBILITY_S, dead_letter, LANE_RECEIVES_MAX)
        files = self._queue("Campaign", 6 * CAMPAIGN_TIMEOUT_S, dead_letter, CAMPAIGN_RECEIVES_MAX)
        bucket = campaign_bucket(self, files)

        # What is remembered
        ledger = self._table("Ledger", key="id")
        consent = self._table("Consent", key="recipient_id", forgets=False)
        due = self._index(consent, DUE_INDEX, "due_month", "renotify_due")
        consent_history = self._table("ConsentHistory", key="recipient_id", sort="changed_at", forgets=False)
        held = self._table("Held", key="id")
        by_source = self._index(held, SOURCE_INDEX, "source", "until")
        channel_secret = self._channel_secret()

        # Where people are told
        alerts = alert_topic(self, config.alert_email)

        # Functions, each with all that it may do
        code = lambda_.Code.from_asset(str(asset.build()))
        environment = Settings(
            notification_queue_url=notification.queue_url,
            delivery_queue_url=delivery.queue_url,
            wait_queue_url=wait.queue_url,
            schedule_queue_url=schedule.queue_url,
            dead_letter_queue_url=dead_letter.queue_url,
            ledger_table=ledger.table_name,
            consent_table=consent.table_name,
            channel_secret=channel_secret.secret_arn,
            campaign_queue_url=files.queue_url,
            start=f"{config.policy.start:%H:%M}",
            end=f"{config.policy.end:%H:%M}",
            timezone=config.policy.zone.key,
            policy=config.policy.name,
            delivery_concurrency=config.delivery_concurrency,
            release_concurrency=config.release_concurrency,
            consent_history_table=consent_history.table_name,
            held_table=held.table_name,
            record_held=config.record_held,
            advertising_label=config.advertising_label,
            sender_name=config.sender_name,
            sms_encoding=config.sms_encoding,
            alert_topic=alerts.topic_arn,
            runbook_url=config.runbook_url,
            dashboard_url=dashboard_url(self),
        ).to_env()
        if config.local_endpoint:
            # `sam local invoke --env-vars` sets only what is declared; boto3 takes the empty value as none.
            environment["AWS_ENDPOINT_URL"] = ""

        function = partial(pipeline_function, self, code=code, environment=environment)

        def only_if_recorded(*permissions: iam.PolicyStatement) -> tuple[iam.PolicyStatement, ...]:
            return permissions if config.record_held else ()

        producer = function(
            "Producer",
            timeout_s=PRODUCER_TIMEOUT_S,
            permissions=[
                may(SEND, notification.queue_arn),
                may(READ_CONSENT, consent.table_arn),
                may(ANSWER, ledger.table_arn),
                may(CANCEL, ledger.table_arn),
                *only_if_recorded(may(ANSWER, held.table_arn, consent.table_arn), may(LIST, by_source)),
            ],
        )
        # A function of its own, so that whoever may send may not thereby grant consent: who may invoke a function can
        # forge what its URL would say of the caller.
        registrar = function(
            "Registrar",
            timeout_s=REGISTRAR_TIMEOUT_S,
            permissions=[
                may(ANSWER, consent.table_arn),
                may(KEEP_CONSENT, consent.table_arn, consent_history.table_arn),
                may(LIST, consent_history.table_arn, due),
            ],
        )
        consumer = function(
            "Consumer",
            timeout_s=CONSUMER_TIMEOUT_S,
            permissions=[
                may(CONSUME, notification.queue_arn),
                may(READ_CONSENT, consent.table_arn),
                may(SEND, delivery.queue_arn, wait.queue_arn, dead_letter.queue_arn),
                *only_if_recorded(may(RECORD_HELD, held.table_arn)),
            ],
        )
        scheduler = function(
            "Scheduler",
            timeout_s=SCHEDULER_TIMEOUT_S,
            permissions=[
                may(DRAIN, wait.queue_arn),
                may(SEND, schedule.queue_arn),
                may(TELL, alerts.topic_arn),
            ],
        )
        worker = function(
            "Worker",
            timeout_s=WORKER_TIMEOUT_S,
            memory_mb=ONE_CORE_MB,
            permissions=[
                may(CONSUME, delivery.queue_arn, schedule.queue_arn),
                may(READ_CONSENT, consent.table_arn),
                may(KEEP_LEDGER, ledger.table_arn),
                may(READ_SECRET, channel_secret.secret_arn),
                *self._channels_own_permissions(),
                may(SEND, delivery.queue_arn, schedule.queue_arn, wait.queue_arn, dead_letter.queue_arn),
            ],
            # Retries and splits go back to their lane. Lambda would take that for a runaway loop and end it after
            # sixteen rounds; the worker's own attempt limits bound it.
            recursive_loop=lambda_.RecursiveLoop.ALLOW,
        )
        self._acknowledge_channels_own_permissions(worker)
        campaign = function(
            "Campaign",
            timeout_s=CAMPAIGN_TIMEOUT_S,
            permissions=[
                may([*CONSUME, "sqs:ChangeMessageVisibility"], files.queue_arn),
                may(SEND, notification.queue_arn),
                *work_on(bucket),
            ],
        )
        acknowledge_objects(bucket, campaign)
        alerter = function(
            "Alerter",
            timeout_s=ALERTER_TIMEOUT_S,
            permissions=[may(READ_SECRET, channel_secret.secret_arn)],
        )

        # What feeds them. Nothing feeds from Wait: the scheduler drains it when the policy says so
        window_s = config.batching_window_s
        self._feed(notification, consumer, config.consumer_concurrency, 1000 if window_s else 10, window_s)
        self._feed(delivery, worker, config.delivery_concurrency)
        self._feed(schedule, worker, config.release_concurrency)
        self._feed(files, campaign, CAMPAIGN_CONCURRENCY)
        self._feed_from_event_bus(notification, dead_letter)
        topic = self._feed_from_topic(notification, dead_letter)

        # What starts them
        producer_url = producer.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        registrar_url = registrar.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        self._start_at_end_of_quiet_hours(scheduler, config.policy)
        self._start_every_minute(scheduler)
        self._tell_of_failed_triggers(scheduler, alerts.topic_arn)

        # What people see
        queues = {
            "Notification": notification,
            "Delivery": delivery,
            "Wait": wait,
            "Schedule": schedule,
            "Campaign": files,
            "DeadLetter": dead_letter,
        }
        functions = {
            "Producer": producer,
            "Registrar": registrar,
            "Consumer": consumer,
            "Scheduler": scheduler,
            "Worker": worker,
            "Campaign": campaign,
            "Alerter": alerter,
        }
        tables = {"Ledger": ledger, "Consent": consent, "ConsentHistory": consent_history, "Held": held}
        tell(alerts, alerter)
        watch(self, alerts, queues, functions, config.policy)

        for name, queue in queues.items():
            CfnOutput(self, f"{name}QueueUrl", value=queue.queue_url)
        for name, each in functions.items():
            CfnOutput(self, f"{name}FunctionName", value=each.function_name)
        CfnOutput(self, "ProducerUrl", value=producer_url.url)
        CfnOutput(self, "RegistrarUrl", value=registrar_url.url)
        for name, table in tables.items():
            CfnOutput(self, f"{name}TableName", value=table.table_name)
        CfnOutput(self, "NotificationTopicArn", value=topic.topic_arn)
        CfnOutput(self, "CampaignBucketName", value=bucket.bucket_name)
        CfnOutput(self, "ChannelSecretName", value=CHANNEL_SECRET_NAME)
        CfnOutput(self, "AlertTopicArn", value=alerts.topic_arn)

    def _channels_own_permissions(self) -> list[iam.PolicyStatement]:
        """What AWS's own channels call: on all of this account's, of the kinds that are used. In any region: which one
        a channel uses is a setting in the channel secret."""
        return [
            may(
                [action],
                *(self.format_arn(service=service, region="*", resource=kind, resource_name="*") for kind in kinds),
            )
            for action, (service, kinds) in CHANNEL_ACTIONS.items()
        ]

    def _acknowledge_channels_own_permissions(self, worker: lambda_.Function) -> None:
        assert worker.role is not None
        for service, kinds in CHANNEL_ACTIONS.values():
            for kind in kinds:
                resource = f"Resource::arn:<AWS::Partition>:{service}:*:<AWS::AccountId>:{kind}/*"
                reason = "Which one is used stands in the channel secret or is a device: the stack does not know it."
                Validations.of(worker.role).acknowledge(
                    Acknowledgment(id=f"AwsSolutions-IAM5[{resource}]", reason=reason)
                )

    def _queue(self, name: str, visibility_s: int, dead_letter: sqs.Queue, receives_max: int) -> sqs.Queue:
        """A queue that carries notifications and bundles: one bundle fits a message, ten fit a batch."""
        return sqs.Queue(
            self,
            "CampaignFiles" if name == "Campaign" else name,  # the function's is the name of the construct
            queue_name=f"{self.stack_name}-{name}",
            visibility_timeout=Duration.seconds(visibility_s),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letter, max_receive_count=receives_max),
            retention_period=RETENTION,
            max_message_size_bytes=BUNDLE_BYTES_MAX,
            receive_message_wait_time=Duration.seconds(20),  # a short poll may answer "empty" when it is not
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=KEEP,
        )

    def _dead_letter_queue(self, sources: list[str]) -> sqs.Queue:
        """Where everything ends that could not be sent; only the queues named `sources` may redrive to it."""
        # By name: a reference would close a circle, because each source refers to this queue.
        source_queues = [
            sqs.Queue.from_queue_arn(
                self, f"{name}ByName", self.format_arn(service="sqs", resource=f"{self.stack_name}-{name}")
            )
            for name in sources
        ]
        return sqs.Queue(
            self,
            "DeadLetter",
            queue_name=f"{self.stack_name}-DeadLetter",
            redrive_allow_policy=sqs.RedriveAllowPolicy(source_queues=source_queues),
            retention_period=DEAD_LETTER_RETENTION,
            max_message_size_bytes=DEAD_LETTER_BYTES_MAX,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=KEEP,
        )

    def _table(self, name: str, key: str, sort: str | None = None, forgets: bool = True) -> dynamodb.Table:
        """A table; one that `forgets` loses what has expired. Consents stay: an opt-out never ends by itself."""
        return dynamodb.Table(
            self,
            name,
            partition_key=_text(key),
            sort_key=_text(sort) if sort else None,
            time_to_live_attribute="expires" if forgets else None,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            removal_policy=KEEP,
        )

    def _index(self, table: dynamodb.Table, name: str, key: str, sort: str) -> str:
        """An index of what has both attributes, with nothing in it but keys; returns its ARN."""
        table.add_global_secondary_index(
            index_name=name,
            partition_key=_text(key),
            sort_key=_text(sort),
            projection_type=dynamodb.ProjectionType.KEYS_ONLY,
        )
        return f"{table.table_arn}/index/{name}"

    def _channel_secret(self) -> secretsmanager.Secret:
        """Created empty, and written by whoever operates the channels: later deployments leave it alone."""
        secret = secretsmanager.Secret(
            self,
            "ChannelSecret",
            secret_name=CHANNEL_SECRET_NAME,
            description="Providers' credentials: one JSON object with a key per channel",
            secret_string_value=SecretValue.unsafe_plain_text("{}"),
            removal_policy=KEEP,
        )
        Validations.of(secret).acknowledge(
            Acknowledgment(
                id="AwsSolutions-SMG4",
                reason="The providers issue these credentials; Secrets Manager cannot make new ones by itself.",
            )
        )
        return secret

    def _feed(
        self, queue: sqs.Queue, function: lambda_.Function, concurrency: int, batch_size: int = 1, window_s: int = 0
    ) -> None:
        """Invoke `function` with what `queue` holds; what its answer names as failed comes again."""
        lambda_.EventSourceMapping(
            self,
            f"{queue.node.id}To{function.node.id}",
            target=function,
            event_source_arn=queue.queue_arn,
            batch_size=batch_size,
            max_batching_window=Duration.seconds(window_s),
            max_concurrency=concurrency,
            report_batch_item_failures=True,
        )

    def _feed_from_event_bus(self, queue: sqs.Queue, dead_letter: sqs.Queue) -> None:
        """Put every NotificationRequested event on `queue`."""
        rule = events.CfnRule(
            self,
            "NotificationRequested",
            event_pattern={"detail-type": ["NotificationRequested"]},
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

    def _feed_from_topic(self, queue: sqs.Queue, dead_letter: sqs.Queue) -> sns.Topic:
        """Put on `queue` what is published on a topic, as it is: a notification or a bundle, without SNS's envelope.

        What the queue does not take, since it is too large or has too many attributes, SNS moves to dead-letter.
        """
        topic = sns.Topic(self, "Notifications", enforce_ssl=True)
        topic.add_subscription(
            subscriptions.SqsSubscription(queue, raw_message_delivery=True, dead_letter_queue=dead_letter)
        )
        return topic

    def _start_at_end_of_quiet_hours(self, function: lambda_.Function, policy: Policy) -> None:
        """On the policy's own clock, daylight saving included."""
        role = iam.Role(
            self,
            "EndOfQuietHoursRole",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self.account}}
            ),
            inline_policies={
                "Permissions": iam.PolicyDocument(statements=[may(["lambda:InvokeFunction"], function.function_arn)])
            },
        )
        eventbridge_scheduler.CfnSchedule(
            self,
            "EndOfQuietHours",
            schedule_expression=f"cron({policy.end.minute} {policy.end.hour} * * ? *)",
            schedule_expression_timezone=policy.zone.key,
            flexible_time_window=eventbridge_scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=eventbridge_scheduler.CfnSchedule.TargetProperty(
                arn=function.function_arn,
                role_arn=role.role_arn,
                retry_policy=eventbridge_scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=TRIGGER_AGE_MAX.to_seconds(), maximum_retry_attempts=0
                ),
            ),
        )

    def _tell_of_failed_triggers(self, function: lambda_.Function, topic_arn: str) -> None:
        """A run that crashes, or that Lambda cannot start in time, is told at once. None is tried again."""
        lambda_.CfnEventInvokeConfig(
            self,
            f"{function.node.id}Triggers",
            function_name=function.function_name,
            qualifier="$LATEST",
            maximum_event_age_in_seconds=TRIGGER_AGE_MAX.to_seconds(),
            maximum_retry_attempts=0,
            destination_config=lambda_.CfnEventInvokeConfig.DestinationConfigProperty(
                on_failure=lambda_.CfnEventInvokeConfig.OnFailureProperty(destination=topic_arn)
            ),
        )

    def _start_every_minute(self, function: lambda_.Function) -> None:
        events.Rule(
            self,
            "EveryMinute",
            schedule=events.Schedule.rate(Duration.minutes(1)),
            targets=[targets.LambdaFunction(function, retry_attempts=0, max_event_age=TRIGGER_AGE_MAX)],
        )


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
