"""The construct: the whole pipeline, from top to bottom.

clients ─► Producer ─┬─ critical ─────────────────────────────────────────────────────► [Urgent] ───┐
                     └─ the rest ──┐                               ┌─ critical ───────► [Urgent] ───┤
event bus ─► rule ─────────────────┤                               ├─ informational ──► [Delivery] ─┤
<Notifications>, other services ───┼─► [Notification] ─► Consumer ─┼─ advertising ────► [Schedule] ─┼─► Worker
bucket ─► [Campaign] ─► Campaign ──┘    [yours] ──────────┘        └─ hold ───────────► [Wait]      │
                  end of quiet hours, every minute ─► Scheduler: [Wait] ──────────────► [Schedule] ─┘
every queue redrives to [DeadLetter]; alarms, Scheduler ─► <Alerts> ─► Alerter ─► Slack; e-mail
who keeps consents ─► Registrar ─► (Consent)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aws_cdk import Annotations, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import asset
from infra.campaigns import acknowledge_objects, campaign_bucket, read_and_report
from infra.function import DEFAULT_MB, ONE_CORE_MB, RUNTIME, pipeline_function
from infra.names import by_name, name_prefix
from infra.observability import alert_topic, dashboard_url, make_alarms, make_dashboard, send_alerts_to
from infra.permissions import (
    ANSWER,
    BOOK_TURNS,
    CANCEL,
    CONSUME,
    CONSUME_AND_DEFER,
    DRAIN,
    KEEP_CONSENT,
    KEEP_LEDGER,
    LIST,
    LOOK,
    NOTE_NEWEST,
    PUBLISH,
    READ_CONSENT,
    READ_NEWEST,
    READ_SECRET,
    RECORD_HELD,
    SEND,
    acknowledge_channels,
    allow,
    call_channels,
)
from infra.policies import closed_for_too_long, holidays_end_soon, shown_policies, shown_queues
from infra.props import QuietHoursProps
from infra.queues import Queues, make_queues
from infra.sources import make_source
from infra.stores import Tables, channel_secret, index_arn, make_tables
from infra.triggers import report_failed_triggers, start_at_end_of_quiet_hours, start_every_minute
from infra.ways_in import feed, feed_batches, feed_from_bus, feed_from_their_queue, feed_from_topic, read_their_queue
from lambdas.quiet_hours.notification.label import KOREA
from lambdas.quiet_hours.rule.policies import zone_warning
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.sources import Source
from lambdas.quiet_hours.stores.consents import DUE_INDEX
from lambdas.quiet_hours.stores.held import OLD_SOURCE_INDEX, SOURCE_INDEX
from lambdas.quiet_hours.timings import (
    ALERTER_TIMEOUT_S,
    CAMPAIGN_TIMEOUT_S,
    CONSUMER_TIMEOUT_S,
    PRODUCER_TIMEOUT_S,
    REGISTRAR_TIMEOUT_S,
    SCHEDULER_TIMEOUT_S,
    WORKER_TIMEOUT_S,
)

CAMPAIGN_CONCURRENCY = 2  # the least that an event source takes
SCHEDULER_RUNS = 1
"""The runs of the scheduler at once. While a backlog lasts, the minute rule starts more of them, up to five."""

NO_SENDER_NAME = (
    "senderName is empty: whether advertising names its sender, as Korean law asks, is not checked. "
    "Set it with -c senderName=NAME, or say -c advertisingLabel=false where the label is checked elsewhere."
)

CONSENT_ELSEWHERE = (
    "advertisingConsent is elsewhere: advertising is sent by day to recipients without a consent record. Korean law "
    "asks for their prior consent (Network Act art. 50(1)). Keep it where the recipients are chosen, or keep it here "
    "and set -c advertisingConsent=required."
)

LISTED_ONLY = (
    "recipients is listed: only addresses on the allow-list and simulated ones are called. Everything else ends as "
    "not_in_allow_list. A deployment without -c recipients=listed calls everybody."
)

TOO_MUCH_AT_ONCE = (
    "up to {total} functions may run at once ({parts}), but accountConcurrency is {account}. Event sources reserve "
    "nothing: Lambda then throttles all of them, and critical notifications wait too. Lower a concurrency, leave out "
    "campaign files with -c campaigns=false, or ask AWS for a higher limit and set -c accountConcurrency=NUMBER."
)


@dataclass(frozen=True, slots=True)
class Functions:
    """All functions of a deployment. `campaign` is `None` where no campaign files are read."""

    producer: lambda_.Function
    registrar: lambda_.Function
    consumer: lambda_.Function
    scheduler: lambda_.Function
    worker: lambda_.Function
    campaign: lambda_.Function | None
    alerter: lambda_.Function


class QuietHours(Construct):
    """Holds notifications over night and releases them by day.

    An account, a region and a stack can hold several: nothing has a name that another one could have too. Synthesis
    needs neither Docker nor credentials. The public attributes are for grants, such as
    `quiet_hours.queues.notification.grant_send_messages(yours)`.
    """

    def __init__(self, scope: Construct, id_: str, props: QuietHoursProps | None = None) -> None:
        super().__init__(scope, id_)
        self._props = props = props or QuietHoursProps()
        self._prefix = prefix = name_prefix(self)
        self._warn()

        # What is kept
        self.queues: Queues = make_queues(self, prefix, props.batching_window_s, props.campaigns, props.wait_queues)
        self.tables: Tables = make_tables(self)
        self.channel_secret_name: str = f"{prefix}/channels"
        self.channel_secret: secretsmanager.Secret = channel_secret(self, self.channel_secret_name)
        self.campaign_bucket: s3.Bucket | None = (
            campaign_bucket(self, self.queues.campaign) if self.queues.campaign else None
        )
        self.alert_topic: sns.Topic = alert_topic(self, props.alert_email)

        # The functions, each with all that it may do
        built = asset.build(runtime=RUNTIME.name, policy_folder=props.policy_folder)
        self._code = lambda_.Code.from_asset(str(built))
        self._environment = self._make_environment(campaign_sender="")
        campaign = self._campaign()  # first: the others know its messages by its role
        self._environment = self._make_environment(campaign_sender=self._sender_of(campaign))
        self.functions = functions = Functions(
            producer=self._producer(),
            registrar=self._registrar(),
            consumer=self._consumer(),
            scheduler=self._scheduler(),
            worker=self._worker(),
            campaign=campaign,
            alerter=self._alerter(),
        )

        # The ways in
        self.producer_url = functions.producer.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        self.registrar_url = functions.registrar.add_function_url(auth_type=lambda_.FunctionUrlAuthType.AWS_IAM)
        self.notification_topic = sns.Topic(self, "Notifications", enforce_ssl=True)
        for topic in (self.notification_topic, *props.topics):
            feed_from_topic(topic, self.queues.notification, self.queues.dead_letter)
        self.event_bus: events.IEventBus = feed_from_bus(
            self, prefix, props.event_bus, self.queues.notification, self.queues.dead_letter
        )

        # What feeds and starts the functions, and what people see
        self._feed_functions()
        self._start_scheduler()
        self._show()

    def outputs(self) -> dict[str, str]:
        """Return what senders and operators need to know, by the names that our commands read in a stack's outputs.

        The names are a contract.
        """
        return {
            **{
                f"{name}QueueUrl": queue.queue_url
                for name, queue in by_name(self.queues).items()
                if name != "FurtherWaits"
            },
            **{f"WaitQueueUrl{number}": each.queue_url for number, each in enumerate(self.queues.further_waits, 2)},
            **{f"{name}FunctionName": function.function_name for name, function in by_name(self.functions).items()},
            "ProducerUrl": self.producer_url.url,
            "RegistrarUrl": self.registrar_url.url,
            **{f"{name}TableName": table.table_name for name, table in by_name(self.tables).items()},
            "NotificationTopicArn": self.notification_topic.topic_arn,
            "EventBusName": self.event_bus.event_bus_name,
            **({"CampaignBucketName": self.campaign_bucket.bucket_name} if self.campaign_bucket else {}),
            "ChannelSecretName": self.channel_secret_name,
            "AlertTopicArn": self.alert_topic.topic_arn,
        }

    def add_source(
        self, id_: str, function: lambda_.IFunction, *, at: Sequence[str], timezone: str
    ) -> lambda_.Function:
        """Start a function of yours at local times such as `10:00`, each day, and accept the notifications that it
        returns. docs/sources.md describes what it gets and what it may return.

        Returns the function that starts yours, for alarms and grants. Raises `ValueError` for a time or a zone that
        cannot be.
        """
        return make_source(
            Construct(self, id_),
            Source.of(id_, at, timezone),
            function,
            code=self._code,
            environment=self._environment,
            architecture=self._props.architecture,
            queues=self.queues,
            alert_topic_arn=self.alert_topic.topic_arn,
        )

    def _feed_functions(self) -> None:
        """Connect the queues to the functions. Wait feeds none: the scheduler drains it when the policy allows."""
        props, queues, functions = self._props, self.queues, self.functions
        concurrency, window_s = props.consumer_concurrency, props.batching_window_s
        feed_batches(self, queues.notification, functions.consumer, concurrency=concurrency, window_s=window_s)
        for queue in props.queues:
            feed_from_their_queue(self, queue, functions.consumer, concurrency=concurrency)
        urgent = feed(self, queues.urgent, functions.worker, concurrency=props.urgent_concurrency)
        for feeder in (functions.producer, functions.consumer):
            # An update then brings the workers of the urgent lane before anything puts a message on it.
            feeder.node.add_dependency(urgent)
        feed(self, queues.delivery, functions.worker, concurrency=props.delivery_concurrency)
        feed(self, queues.schedule, functions.worker, concurrency=props.release_concurrency)
        if queues.campaign and functions.campaign:
            feed(self, queues.campaign, functions.campaign, concurrency=CAMPAIGN_CONCURRENCY)

    def _start_scheduler(self) -> None:
        scheduler = self.functions.scheduler
        start_at_end_of_quiet_hours(self, scheduler, self._props.policy)
        start_every_minute(self, scheduler)
        report_failed_triggers(self, scheduler, self.alert_topic.topic_arn)

    def _show(self) -> None:
        queues, functions = self.queues.named(), by_name(self.functions)
        send_alerts_to(self.functions.alerter, self.alert_topic)
        alarms = make_alarms(self, self._prefix, self.alert_topic, queues, functions, self._props.policy)
        make_dashboard(self, self._prefix, queues, alarms)

    # --- the functions

    def _producer(self) -> lambda_.Function:
        queues, tables = self.queues, self.tables
        return self._function(
            "Producer",
            PRODUCER_TIMEOUT_S,
            [
                allow(SEND, queues.notification.queue_arn, queues.urgent.queue_arn),
                allow(READ_CONSENT, tables.consent.table_arn),
                allow(ANSWER, tables.ledger.table_arn),
                allow(CANCEL, tables.ledger.table_arn),
                *self._only_if_recorded(
                    allow(ANSWER, tables.held.table_arn),
                    allow(LIST, *(index_arn(tables.held, name) for name in (OLD_SOURCE_INDEX, SOURCE_INDEX))),
                ),
            ],
        )

    def _registrar(self) -> lambda_.Function:
        """Make the registrar: a function of its own, so that whoever may send may not thereby grant consent.

        Whoever may invoke a function can forge what its URL would say about the caller.
        """
        consent, history = self.tables.consent, self.tables.consent_history
        return self._function(
            "Registrar",
            REGISTRAR_TIMEOUT_S,
            [
                allow(ANSWER, consent.table_arn),
                allow(KEEP_CONSENT, consent.table_arn, history.table_arn),
                allow(LIST, history.table_arn, index_arn(consent, DUE_INDEX)),
            ],
        )

    def _consumer(self) -> lambda_.Function:
        queues, tables = self.queues, self.tables
        return self._function(
            "Consumer",
            CONSUMER_TIMEOUT_S,
            [
                allow(CONSUME, queues.notification.queue_arn),
                *(permission for queue in self._props.queues for permission in read_their_queue(queue)),
                allow(READ_CONSENT, tables.consent.table_arn),
                allow(
                    SEND,
                    queues.urgent.queue_arn,
                    queues.delivery.queue_arn,
                    queues.schedule.queue_arn,
                    *(each.queue_arn for each in queues.waits),
                    queues.dead_letter.queue_arn,
                ),
                allow(NOTE_NEWEST, tables.held.table_arn),
                *self._only_if_recorded(allow(RECORD_HELD, tables.held.table_arn)),
            ],
        )

    def _scheduler(self) -> lambda_.Function:
        return self._function(
            "Scheduler",
            SCHEDULER_TIMEOUT_S,
            [
                allow(DRAIN, *(each.queue_arn for each in self.queues.waits)),
                allow(SEND, self.queues.schedule.queue_arn),
                allow(PUBLISH, self.alert_topic.topic_arn),
            ],
        )

    def _worker(self) -> lambda_.Function:
        queues, tables = self.queues, self.tables
        lanes = (queues.urgent.queue_arn, queues.delivery.queue_arn, queues.schedule.queue_arn)
        worker = self._function(
            "Worker",
            WORKER_TIMEOUT_S,
            [
                allow(CONSUME, *lanes),
                allow(READ_CONSENT, tables.consent.table_arn),
                allow(KEEP_LEDGER, tables.ledger.table_arn),
                allow(BOOK_TURNS, tables.turn.table_arn),
                allow([*READ_NEWEST, *NOTE_NEWEST], tables.held.table_arn),
                allow(READ_SECRET, self.channel_secret.secret_arn),
                *call_channels(Stack.of(self)),
                allow(SEND, *lanes, *(each.queue_arn for each in queues.waits), queues.dead_letter.queue_arn),
            ],
            memory_mb=ONE_CORE_MB,
            # Retries and splits go back to their lane. Lambda would take that for a runaway loop and end it after
            # sixteen rounds; the worker's own attempt limits bound it.
            recursive_loop=lambda_.RecursiveLoop.ALLOW,
        )
        acknowledge_channels(worker)
        return worker

    def _campaign(self) -> lambda_.Function | None:
        if not (self.queues.campaign and self.campaign_bucket):
            return None
        campaign = self._function(
            "Campaign",
            CAMPAIGN_TIMEOUT_S,
            [
                allow(CONSUME_AND_DEFER, self.queues.campaign.queue_arn),
                allow([*SEND, *LOOK], self.queues.notification.queue_arn),
                *read_and_report(self.campaign_bucket),
            ],
        )
        acknowledge_objects(self.campaign_bucket, campaign)
        return campaign

    def _alerter(self) -> lambda_.Function:
        return self._function("Alerter", ALERTER_TIMEOUT_S, [allow(READ_SECRET, self.channel_secret.secret_arn)])

    def _function(
        self,
        name: str,
        timeout_s: int,
        permissions: Sequence[iam.PolicyStatement],
        memory_mb: int = DEFAULT_MB,
        recursive_loop: lambda_.RecursiveLoop = lambda_.RecursiveLoop.TERMINATE,
    ) -> lambda_.Function:
        function = pipeline_function(
            self,
            name,
            code=self._code,
            environment=self._environment,
            timeout_s=timeout_s,
            permissions=permissions,
            architecture=self._props.architecture,
            memory_mb=memory_mb,
            recursive_loop=recursive_loop,
        )
        if self._props.local_endpoint:  # `sam local invoke Producer`: SAM makes no name of a construct's path
            made = function.node.default_child
            assert isinstance(made, lambda_.CfnFunction)
            made.add_metadata("SamResourceId", name)
        return function

    def _only_if_recorded(self, *permissions: iam.PolicyStatement) -> tuple[iam.PolicyStatement, ...]:
        return permissions if self._props.record_held else ()

    def _sender_of(self, function: lambda_.Function | None) -> str:
        """Return the unique id of the function's role, with which SQS names it as a sender; empty without the check."""
        if function is None or not self._props.check_campaign_sender:
            return ""
        role = function.role
        assert isinstance(role, iam.Role)
        return role.role_id

    def _make_environment(self, campaign_sender: str) -> dict[str, str]:
        """Return the environment that all functions share. The campaign function itself needs no `campaign_sender`."""
        props, queues, tables = self._props, self.queues, self.tables
        environment = Settings(
            notification_queue_url=queues.notification.queue_url,
            urgent_queue_url=queues.urgent.queue_url,
            delivery_queue_url=queues.delivery.queue_url,
            wait_queue_url=queues.wait.queue_url,
            schedule_queue_url=queues.schedule.queue_url,
            dead_letter_queue_url=queues.dead_letter.queue_url,
            ledger_table=tables.ledger.table_name,
            consent_table=tables.consent.table_name,
            channel_secret=self.channel_secret.secret_arn,
            campaign_queue_url=queues.campaign.queue_url if queues.campaign else "",
            campaign_sender=campaign_sender,
            start=props.policy.hours.start,
            end=props.policy.hours.end,
            timezone=props.policy.zone.key,
            policy=props.policy.name,
            kakao_closed=props.policy.hours.kakao_closed,
            further_policies=props.policy.hours.further_policies,
            wait_queues=props.wait_queues,
            consent_history_table=tables.consent_history.table_name,
            held_table=tables.held.table_name,
            turn_table=tables.turn.table_name,
            record_held=props.record_held,
            advertising_label=props.advertising_label,
            sender_name=props.sender_name,
            sms_encoding=props.sms_encoding,
            advertising_consent=props.advertising_consent,
            recipients=props.recipients,
            alert_topic=self.alert_topic.topic_arn,
            runbook_url=props.runbook_url,
            dashboard_url=dashboard_url(self, self._prefix),
        ).to_env()
        if props.local_endpoint:
            # `sam local invoke --env-vars` sets only what is declared; boto3 takes the empty value as none.
            environment["AWS_ENDPOINT_URL"] = ""
        return environment

    def _at_once(self) -> dict[str, int]:
        """Return how many invocations may run at once, by what starts them. Requests to the producer come on top."""
        props = self._props
        return {
            "consumer": props.consumer_concurrency * (1 + len(props.queues)),
            "urgent": props.urgent_concurrency,
            "delivery": props.delivery_concurrency,
            "release": props.release_concurrency,
            **({"campaign files": CAMPAIGN_CONCURRENCY} if props.campaigns else {}),
            "scheduler": SCHEDULER_RUNS,
        }

    def _warn(self) -> None:
        """Add the warnings that synthesis shows."""
        props, policy = self._props, self._props.policy
        is_korea = any(each.name == KOREA for each in policy.policies)
        if is_korea and props.advertising_label and not props.sender_name:
            Annotations.of(self).add_warning_v2("quiet-hours:senderName", NO_SENDER_NAME)
        if is_korea and props.advertising_consent == "elsewhere":
            Annotations.of(self).add_warning_v2("quiet-hours:advertisingConsent", CONSENT_ELSEWHERE)
        if props.recipients == "listed":
            Annotations.of(self).add_warning_v2("quiet-hours:recipients", LISTED_ONLY)
        at_once = self._at_once()
        if (total := sum(at_once.values())) > props.account_concurrency:
            parts = ", ".join(f"{name} {number}" for name, number in at_once.items())
            text = TOO_MUCH_AT_ONCE.format(total=total, parts=parts, account=props.account_concurrency)
            Annotations.of(self).add_warning_v2("quiet-hours:accountConcurrency", text)
        if props.wait_queues > 1:
            Annotations.of(self).add_info_v2("quiet-hours:waitQueues", shown_queues(policy, props.wait_queues))
        if policy.further:
            Annotations.of(self).add_info_v2("quiet-hours:policies", shown_policies(policy))
        now = datetime.now(UTC)
        if warning := closed_for_too_long(policy, now):
            Annotations.of(self).add_warning_v2("quiet-hours:closedForTooLong", warning)
        if warning := holidays_end_soon(policy, now.date()):
            Annotations.of(self).add_warning_v2("quiet-hours:holidays", warning)
        for zone in dict.fromkeys(each.zone.key for each in policy.policies):
            if warning := zone_warning(zone, policy.hours.start, policy.hours.end, now.date()):
                Annotations.of(self).add_warning_v2("quiet-hours:timezone", warning)


def _output_of(queue: str) -> str:
    """The output with the URL of a queue: `WaitQueueUrl2` for the wait queue `Wait2`."""
    name = queue.rstrip("0123456789")
    return f"{name}QueueUrl{queue.removeprefix(name)}"
