"""Queues, tables and secret, as CloudFormation would be told to make them."""

import json

import pytest

from lambdas import campaign
from lambdas.quiet_hours.notification.bundle import BUNDLE_BYTES_MAX
from lambdas.quiet_hours.notification.notification import LIFE
from lambdas.quiet_hours.settings import CAMPAIGN_PROGRESS, CAMPAIGN_REPORTS, CAMPAIGN_UPLOADS
from lambdas.quiet_hours.stores.entries import KEEP
from lambdas.quiet_hours.stores.queues import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.stack_template import QUEUES, TABLES, WORKING_QUEUES, Deployed

pytestmark = pytest.mark.xdist_group("stack")

HOUR_S = 3600


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_refuses_whoever_comes_without_tls(stack: Deployed, name: str) -> None:
    (denied,) = [statement for statement in stack.queue_policy(name) if statement["Effect"] == "Deny"]
    assert denied["Action"] == "sqs:*"
    assert denied["Principal"] == {"AWS": "*"}
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert stack.name(denied["Resource"]) == name


@pytest.mark.parametrize("name", QUEUES)
def test_a_queue_is_encrypted_with_sqs_managed_keys(stack: Deployed, name: str) -> None:
    assert stack.queue(name)["SqsManagedSseEnabled"] is True


@pytest.mark.parametrize("which", ["stack", "other_stack"])
def test_a_message_stays_invisible_for_six_timeouts_and_the_window_of_whoever_it_feeds(
    which: str, request: pytest.FixtureRequest
) -> None:
    stack: Deployed = request.getfixturevalue(which)
    for (queue, function), source in stack.feeds().items():
        needed_s = 6 * stack.function(function)["Timeout"] + source["MaximumBatchingWindowInSeconds"]
        assert stack.queue(queue)["VisibilityTimeout"] >= needed_s, queue


def test_a_claim_outlives_its_function_and_lapses_before_its_message_comes_again(stack: Deployed) -> None:
    for queue in ("Urgent", "Delivery", "Schedule"):
        assert stack.function("Worker")["Timeout"] < LEASE_S < stack.queue(queue)["VisibilityTimeout"]


def test_a_drained_message_does_not_come_again_while_its_batch_is_being_moved(stack: Deployed) -> None:
    """One send and one delete, each tried for up to 2 + 5 s twice."""
    assert stack.queue("Wait")["VisibilityTimeout"] >= 2 * 2 * (2 + 5)


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_a_notification_expires_before_any_queue_would_drop_it(stack: Deployed, name: str) -> None:
    assert LIFE.total_seconds() < stack.queue(name)["MessageRetentionPeriod"]


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_a_redriven_message_has_days_left_in_dead_letter(stack: Deployed, name: str) -> None:
    """SQS keeps counting from when the message entered its first queue."""
    left_s = stack.queue("DeadLetter")["MessageRetentionPeriod"] - stack.queue(name)["MessageRetentionPeriod"]
    assert left_s >= 7 * 24 * HOUR_S


def test_the_ledger_remembers_an_id_for_longer_than_any_message_of_it_can_live(stack: Deployed) -> None:
    longest_s = (
        stack.queue("DeadLetter")["MessageRetentionPeriod"] + stack.queue("Notification")["MessageRetentionPeriod"]
    )
    assert KEEP.total_seconds() > longest_s


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_a_working_queue_takes_a_full_bundle_and_nothing_larger(stack: Deployed, name: str) -> None:
    assert stack.queue(name)["MaximumMessageSize"] == BUNDLE_BYTES_MAX == 64 * 1024


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_a_batch_of_the_largest_messages_fits_one_call(stack: Deployed, name: str) -> None:
    assert BATCH_MESSAGES_MAX * stack.queue(name)["MaximumMessageSize"] <= BATCH_BYTES_MAX


def test_dead_letter_takes_whatever_sqs_can_carry(stack: Deployed) -> None:
    assert stack.queue("DeadLetter")["MaximumMessageSize"] == BATCH_BYTES_MAX == 1024 * 1024


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_a_receive_asks_all_of_sqs_servers_before_it_answers_empty(stack: Deployed, name: str) -> None:
    assert stack.queue(name)["ReceiveMessageWaitTimeSeconds"] == 20


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_an_outage_of_a_whole_night_dead_letters_nothing(stack: Deployed, name: str) -> None:
    queue = stack.queue(name)
    assert stack.name(queue["RedrivePolicy"]["deadLetterTargetArn"]) == "DeadLetter"
    assert queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"] >= 11 * HOUR_S


@pytest.mark.parametrize("name", WORKING_QUEUES)
def test_what_nobody_can_handle_reaches_dead_letter_before_its_queue_would_drop_it(stack: Deployed, name: str) -> None:
    queue = stack.queue(name)
    receives_s = queue["VisibilityTimeout"] * queue["RedrivePolicy"]["maxReceiveCount"]
    assert receives_s < queue["MessageRetentionPeriod"]


def test_only_the_working_queues_may_redrive_to_dead_letter(stack: Deployed) -> None:
    allowed = stack.queue("DeadLetter")["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    assert [json.dumps(arn).count(":sqs:") for arn in allowed["sourceQueueArns"]] == [1] * len(WORKING_QUEUES)
    names = {arn["Fn::Join"][1][-1].removeprefix(":") for arn in allowed["sourceQueueArns"]}
    assert names == {stack.queue(name)["QueueName"] for name in WORKING_QUEUES}
    assert "RedrivePolicy" not in stack.queue("DeadLetter")


def test_there_are_no_other_queues(stack: Deployed) -> None:
    assert {stack.name({"Ref": id_}) for id_ in stack.all("AWS::SQS::Queue")} == set(QUEUES)


def test_what_holds_notifications_consents_or_credentials_outlives_the_stack(stack: Deployed) -> None:
    kept = ("AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::S3::Bucket")
    found = [resource for resource in stack.template["Resources"].values() if resource["Type"] in kept]
    assert len(found) == len(QUEUES) + len(TABLES) + 2
    for resource in found:
        # CloudFormation cannot delete a table that is protected, not even when a first deployment is rolled back.
        is_protected = resource["Properties"].get("DeletionProtectionEnabled", False)
        assert is_protected == (resource["Type"] == "AWS::DynamoDB::Table")
        assert resource["DeletionPolicy"] == ("Retain" if is_protected else "RetainExceptOnCreate")
        assert resource["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("Ledger", ["id"]),
        ("Consent", ["recipient_id"]),
        ("ConsentHistory", ["recipient_id", "changed_at"]),
        ("Held", ["id"]),
        ("Turn", ["channel"]),
    ],
)
def test_a_table_is_on_demand_and_restorable(stack: Deployed, name: str, keys: list[str]) -> None:
    table = stack.table(name)
    assert table["KeySchema"] == _keys(*keys)
    assert {each["AttributeType"] for each in table["AttributeDefinitions"]} == {"S"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert table["DeletionProtectionEnabled"] is True


def test_what_is_remembered_of_notifications_is_forgotten_and_what_people_said_never(stack: Deployed) -> None:
    forgetting = {"AttributeName": "expires", "Enabled": True}
    found = {name: stack.table(name).get("TimeToLiveSpecification") for name in TABLES}
    assert found == {"Ledger": forgetting, "Consent": None, "ConsentHistory": None, "Held": forgetting, "Turn": None}


def test_an_outage_of_a_day_does_not_use_up_the_receives_of_a_campaign_file(stack: Deployed) -> None:
    receives: int = stack.queue("Campaign")["RedrivePolicy"]["maxReceiveCount"]
    assert receives * campaign.AGAIN_LATER_S >= 24 * 3600


def test_the_indexes_hold_keys_alone(stack: Deployed) -> None:
    """Consents by the month in which they fall due, what is held by its source; each is written for those only."""
    indexes = {name: stack.table(name).get("GlobalSecondaryIndexes", []) for name in TABLES}
    keys_only = {"ProjectionType": "KEYS_ONLY"}
    due = {"IndexName": "ByRenotifyDue", "KeySchema": _keys("due_month", "renotify_due"), "Projection": keys_only}
    by_shard = _keys("source_shard", "until")
    by_source = {"IndexName": "BySourceShard", "KeySchema": by_shard, "Projection": keys_only}
    old = {"IndexName": "BySource", "KeySchema": _keys("source", "until"), "Projection": keys_only}
    assert indexes == {"Ledger": [], "Consent": [due], "ConsentHistory": [], "Held": [old, by_source], "Turn": []}


def _keys(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]


def test_the_secret_is_named_and_starts_empty(stack: Deployed) -> None:
    secret = stack.only("AWS::SecretsManager::Secret")
    assert secret["Name"] == stack.outputs["ChannelSecretName"] == "QuietHours/channels"
    assert secret["SecretString"] == "{}"
    assert "GenerateSecretString" not in secret


def test_the_campaign_bucket_is_private_encrypted_and_forgets(stack: Deployed) -> None:
    bucket = stack.only("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["ExpirationInDays"], rule["AbortIncompleteMultipartUpload"]) == (30, {"DaysAfterInitiation": 7})
    (denied,) = stack.only("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Action"], denied["Principal"]) == ("Deny", "s3:*", {"AWS": "*"})
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_dropped_file_is_told_to_the_campaign_queue_and_what_is_written_elsewhere_is_not(stack: Deployed) -> None:
    bucket = stack.only("AWS::S3::Bucket")
    (told,) = bucket["NotificationConfiguration"]["QueueConfigurations"]
    assert (told["Event"], stack.name(told["Queue"])) == ("s3:ObjectCreated:*", "Campaign")
    assert told["Filter"] == {"S3Key": {"Rules": [{"Name": "prefix", "Value": CAMPAIGN_UPLOADS}]}}
    assert not CAMPAIGN_PROGRESS.startswith(CAMPAIGN_UPLOADS)
    assert not CAMPAIGN_REPORTS.startswith(CAMPAIGN_UPLOADS)


def test_the_queue_lets_the_bucket_in_before_the_bucket_is_made(stack: Deployed) -> None:
    """S3 refuses a notification that it could not deliver, and with it the bucket."""
    (statement,) = (each for each in stack.queue_policy("Campaign") if each["Effect"] == "Allow")
    name = stack.only("AWS::S3::Bucket")["BucketName"]["Fn::Join"][1]
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Join"][1][-4:] == [f":s3:::{name[0]}", *name[1:]]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}
    depends = stack.resource(stack.outputs["CampaignBucketName"])["DependsOn"]
    policies = stack.all("AWS::SQS::QueuePolicy")
    assert "Campaign" in [
        stack.name(queue) for each in depends if each in policies for queue in policies[each]["Queues"]
    ]


def test_the_outputs_are_the_contract(stack: Deployed) -> None:
    assert set(stack.outputs) == {
        "NotificationQueueUrl",
        "UrgentQueueUrl",
        "DeliveryQueueUrl",
        "WaitQueueUrl",
        "ScheduleQueueUrl",
        "DeadLetterQueueUrl",
        "ProducerFunctionName",
        "ProducerUrl",
        "RegistrarFunctionName",
        "RegistrarUrl",
        "ConsumerFunctionName",
        "SchedulerFunctionName",
        "WorkerFunctionName",
        "AlerterFunctionName",
        "CampaignFunctionName",
        "CampaignQueueUrl",
        "CampaignBucketName",
        "LedgerTableName",
        "ConsentTableName",
        "ConsentHistoryTableName",
        "HeldTableName",
        "TurnTableName",
        "ChannelSecretName",
        "AlertTopicArn",
        "NotificationTopicArn",
        "EventBusName",
    }
