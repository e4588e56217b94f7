"""Names: two deployments share none, an event for one never reaches the other, and what is stateful keeps its id."""

import json
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_events as events
from aws_cdk.assertions import Template
from constructs import Construct

from infra.campaigns import bucket_name
from infra.names import name_prefix
from infra.props import QuietHoursProps, SharedBus
from infra.quiet_hours import QuietHours
from tests.helpers.stack_template import CONTEXT, Deployed, make_stack

pytestmark = pytest.mark.xdist_group("stack")

Resources = dict[str, dict[str, Any]]

# --- logical ids

STATEFUL = {
    "Notification2267453E": "the notification queue: what was accepted and not yet judged",
    "Urgent0176A414": "the urgent queue: critical notifications that wait to be sent now",
    "Delivery5F6C039D": "the delivery queue: what waits to be sent now",
    "Wait4449FB25": "the wait queue: what is held for the night",
    "Schedule83A77FD1": "the schedule queue: what was released",
    "CampaignFiles42B74B12": "the campaign queue: which files are still to be read",
    "DeadLetter70818289": "the dead-letter queue: what could not be sent, and why",
    "LedgerB7379752": "the ledger: which notifications were sent, so that none is sent twice",
    "Consent9C3F6453": "the consents: who may be sent advertising at night, and who opted out",
    "ConsentHistoryC03E932B": "the history of consents: the proof that they were given",
    "HeldE0C74053": "the record of what is held",
    "Turn2B907DC9": "the turns: how far each channel's rate is booked, and until when it rests",
    "ChannelSecretC93805EE": "the providers' credentials",
    "CampaignBucket8FE834A7": "the campaign files and their progress",
    "BusEA82B648": "the event bus: senders put events on it, by its name",
    "Notifications87298708": "the notification topic: senders publish on it, by its ARN",
    "Alerts91F83244": "the alert topic: people have confirmed their subscriptions to it",
}
"""The logical ids of what holds data, or has an address that others know, and what is lost with it."""

STATEFUL_TYPES = (
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::SecretsManager::Secret",
    "AWS::S3::Bucket",
    "AWS::Events::EventBus",
    "AWS::SNS::Topic",
)


def test_everything_stateful_keeps_its_logical_id(stack: Deployed) -> None:
    found = {id_ for type_ in STATEFUL_TYPES for id_ in stack.all(type_)}
    lost = [f"{id_} is gone: {STATEFUL[id_]}" for id_ in sorted(STATEFUL.keys() - found)]
    assert not lost, (
        "CloudFormation would make a new, empty resource, and every deployed stack would leave the old one behind with "
        "all that is in it. Where a name is fixed, the deployment would fail. " + "; ".join(lost)
    )
    new = sorted(found - STATEFUL.keys())
    assert not new, f"new resources that hold something: pin their logical ids here, and say what is lost with {new}"


# --- two deployments

NAMED = {
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Events::EventBus": "Name",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SecretsManager::Secret": "Name",
}
"""The property with the physical name that we give."""

GENERATED = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::Logs::MetricFilter": "FilterName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::Scheduler::Schedule": "Name",
}
"""The property that would give a name. CloudFormation makes one up from the stack's name and the logical id."""

NAMELESS = {
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Url",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
}


def physical_names(resources: Resources) -> set[tuple[str, str]]:
    """Every physical name that is written in a template, metrics' namespaces included."""
    names: list[tuple[str, str]] = []
    metrics: set[tuple[str, str]] = set()
    for id_, resource in resources.items():
        type_, properties = resource["Type"], resource.get("Properties", {})
        if type_ in NAMED:
            names.append((type_, json.dumps(properties[NAMED[type_]])))
        elif type_ in GENERATED:
            assert GENERATED[type_] not in properties, id_
        else:
            assert type_ in NAMELESS, f"say here how a {type_} gets its name"
        transformations = properties.get("MetricTransformations", [])
        metrics |= {("metric", f"{each['MetricNamespace']}/{each['MetricName']}") for each in transformations}
    assert len(names) == len(set(names))
    return set(names) | metrics


def referenced(value: Any) -> set[str]:
    """The logical ids that a value refers to."""
    if isinstance(value, list):
        return {found for each in value for found in referenced(each)}
    if not isinstance(value, dict):
        return set()
    own = {value["Ref"]} if "Ref" in value else {value["Fn::GetAtt"][0]} if "Fn::GetAtt" in value else set()
    return own | {found for each in value.values() for found in referenced(each)}


def two_stacks() -> list[Resources]:
    """Staging and production: two stacks of one app."""
    return [
        dict(Template.from_stack(make_stack(stackName=name)).to_json()["Resources"]) for name in ("Staging", "Prod")
    ]


def two_constructs(bus_name: str | None = None) -> list[Resources]:
    """Two brands in one stack: the resources of each. On the bus, if one is named, each has its name as its source."""
    stack = Stack(App(context=CONTEXT), "Brands")
    bus = events.EventBus.from_event_bus_name(stack, "Company", bus_name) if bus_name else None
    for name in ("Left", "Right"):
        QuietHours(stack, name, QuietHoursProps(event_bus=SharedBus(bus, [name.lower()]) if bus else None))
    resources: Resources = Template.from_stack(stack).to_json()["Resources"]
    parts = [{id_: each for id_, each in resources.items() if id_.startswith(name)} for name in ("Left", "Right")]
    assert sum(map(len, parts)) == len(resources)
    return parts


@pytest.fixture(scope="module", params=[two_stacks, two_constructs])
def pair(request: pytest.FixtureRequest) -> list[Resources]:
    made: list[Resources] = request.param()
    return made


def test_two_deployments_share_no_physical_name(pair: list[Resources]) -> None:
    one, other = map(physical_names, pair)
    assert len(one) == len(other) > 30
    assert one & other == set()


def test_two_constructs_in_one_stack_refer_to_nothing_of_each_other() -> None:
    one, other = two_constructs()
    assert referenced(list(one.values())) & other.keys() == set()
    assert referenced(list(other.values())) & one.keys() == set()


def test_only_the_construct_named_default_has_the_stacks_name_alone() -> None:
    app = App()
    shop = Stack(app, "Shop")
    prefixes = [
        name_prefix(each)
        for each in (
            QuietHours(shop, "Default"),
            QuietHours(shop, "Night-Brand"),
            QuietHours(Stack(app, "Shop-Night"), "Brand"),
            QuietHours(Stack(app, "x" * 128), "Default"),
            QuietHours(Stack(app, "x" * 127), "Default"),
        )
    ]
    assert prefixes[0] == "Shop"
    assert prefixes[1].startswith("Shop-Night-Brand-")
    assert len(set(prefixes)) == len(prefixes)
    assert max(map(len, prefixes)) <= 60


def test_the_longest_names_fit() -> None:
    """80 characters for a queue, 63 for a bucket in the region with the longest name."""
    stack = make_stack(stackName="X" * 128, env="123456789012/us-isof-south-1")
    deployed = Deployed(stack)
    assert max(len(queue["QueueName"]) for queue in deployed.all("AWS::SQS::Queue").values()) <= 80
    bucket = deployed.only("AWS::S3::Bucket")["BucketName"]
    assert len(bucket) <= 63
    assert bucket == bucket.lower()


@pytest.mark.parametrize("names", [("Shop", "shop", "SHOP"), ("QuietHours", "quiethours"), ("X" * 40, "x" * 40)])
def test_stacks_whose_names_differ_only_in_case_have_different_buckets(names: tuple[str, ...]) -> None:
    """A bucket's name is in small letters and unique in all accounts, while stacks are told apart by case."""
    buckets = [bucket(name) for name in names]
    assert len(set(buckets)) == len(names)
    assert buckets == [each.lower() for each in buckets]


def test_the_default_stack_keeps_the_bucket_that_earlier_versions_made() -> None:
    assert bucket("QuietHours") == "quiethours-campaigns-123456789012-ap-northeast-2"


def bucket(stack_name: str) -> str:
    """The name of the bucket of a stack."""
    stack = Stack(App(), stack_name, env=Environment(account="123456789012", region="ap-northeast-2"))
    return bucket_name(Construct(stack, "Default"))


# --- events


def takes(resources: Resources, bus: Any, event: dict[str, str]) -> bool:
    """Tell if the rule for requests takes an event that was put on a bus."""
    (rule,) = (
        each["Properties"]
        for each in resources.values()
        if each["Type"] == "AWS::Events::Rule" and "EventPattern" in each["Properties"]
    )
    if resolved(resources, rule["EventBusName"]) != bus:
        return False
    return all(event[field] in allowed for field, allowed in rule["EventPattern"].items())


def resolved(resources: Resources, bus: Any) -> Any:
    """The name of a bus: of a deployment's own, or as it stands."""
    return resources[bus["Ref"]]["Properties"]["Name"] if isinstance(bus, dict) else bus


def own_bus(resources: Resources) -> str:
    (bus,) = (each["Properties"]["Name"] for each in resources.values() if each["Type"] == "AWS::Events::EventBus")
    return str(bus)


def test_an_event_for_one_deployment_reaches_only_that_one(pair: list[Resources]) -> None:
    event = {"detail-type": "NotificationRequested", "source": "shop"}
    reached = [[takes(resources, own_bus(other), event) for resources in pair] for other in pair]
    assert reached == [[True, False], [False, True]]
    assert not any(takes(resources, "default", event) for resources in pair)


def test_on_a_shared_bus_each_deployment_takes_the_events_of_its_own_sources() -> None:
    parts = two_constructs("company")
    assert not [each for part in parts for each in part.values() if each["Type"] == "AWS::Events::EventBus"]
    for source, reached in (("left", [True, False]), ("right", [False, True]), ("other", [False, False])):
        event = {"detail-type": "NotificationRequested", "source": source}
        assert [takes(part, "company", event) for part in parts] == reached


def test_a_shared_bus_without_a_source_is_refused() -> None:
    bus = events.EventBus.from_event_bus_name(Stack(), "Company", "company")
    with pytest.raises(ValueError, match="SharedBus needs at least one source"):
        SharedBus(bus, [])


@pytest.mark.parametrize("text", ["shop", ""])
def test_one_text_as_the_sources_of_a_shared_bus_is_refused(text: str) -> None:
    """A text is a sequence of its letters: each would have been a source."""
    bus = events.EventBus.from_event_bus_name(Stack(), "Company", "company")
    with pytest.raises(ValueError, match="sources must be a sequence of texts"):
        SharedBus(bus, text)
