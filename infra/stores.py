"""The tables and the channel secret: what the system remembers, and what it keeps secret."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Acknowledgment, RemovalPolicy, SecretValue, Validations
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.queues import KEEP
from lambdas.quiet_hours.stores.consents import DUE_INDEX
from lambdas.quiet_hours.stores.held import OLD_SOURCE_INDEX, SOURCE_INDEX


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of a deployment."""

    ledger: dynamodb.Table
    consent: dynamodb.Table
    consent_history: dynamodb.Table
    held: dynamodb.Table
    turn: dynamodb.Table
    """One item a channel: the schedule of its turns, and its rest."""


def make_tables(scope: Construct) -> Tables:
    """Make the tables and their indexes. Items of ledger and held expire. Consents stay: an opt-out never expires."""

    def table(name: str, key: str, sort: str | None = None, expires: bool = False) -> dynamodb.Table:
        return dynamodb.Table(
            scope,
            name,
            partition_key=_text(key),
            sort_key=_text(sort) if sort else None,
            time_to_live_attribute="expires" if expires else None,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            deletion_protection=True,
            # Not KEEP: the rollback of a first deployment would try to delete the table, and the protection forbids it.
            removal_policy=RemovalPolicy.RETAIN,
        )

    tables = Tables(
        ledger=table("Ledger", key="id", expires=True),
        consent=table("Consent", key="recipient_id"),
        consent_history=table("ConsentHistory", key="recipient_id", sort="changed_at"),
        held=table("Held", key="id", expires=True),
        turn=table("Turn", key="channel"),
    )
    _add_index(tables.consent, DUE_INDEX, key="due_month", sort="renotify_due")
    # An index's keys cannot change in place. The old one is for the records of earlier versions: docs/upgrade.md says
    # when it may go. CloudFormation adds or removes one index of a table in each update.
    _add_index(tables.held, OLD_SOURCE_INDEX, key="source", sort="until")
    _add_index(tables.held, SOURCE_INDEX, key="source_shard", sort="until")
    return tables


def index_arn(table: dynamodb.Table, name: str) -> str:
    """Return the ARN of one index of a table."""
    return f"{table.table_arn}/index/{name}"


def channel_secret(scope: Construct, name: str) -> secretsmanager.Secret:
    """Make the secret, empty. Whoever operates the channels writes it: later deployments leave its value alone."""
    secret = secretsmanager.Secret(
        scope,
        "ChannelSecret",
        secret_name=name,
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


def _add_index(table: dynamodb.Table, name: str, key: str, sort: str) -> None:
    """Add an index of the items that have both attributes. It holds nothing but keys."""
    table.add_global_secondary_index(
        index_name=name,
        partition_key=_text(key),
        sort_key=_text(sort),
        projection_type=dynamodb.ProjectionType.KEYS_ONLY,
    )


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
