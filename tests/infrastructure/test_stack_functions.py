"""Functions, roles and event sources, as CloudFormation would be told to make them."""

import importlib
import json
import re
from typing import Any

import pytest
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template

from infra.function import RUNTIME
from lambdas.quiet_hours import timings
from lambdas.quiet_hours.settings import Settings
from tests.helpers.stack_template import FUNCTIONS, WORKING_QUEUES, Deployed, make_stack

pytestmark = pytest.mark.xdist_group("stack")


# --- functions


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_handler_is_what_the_code_has(stack: Deployed, name: str) -> None:
    module, attribute = stack.function(name)["Handler"].rsplit(".", 1)
    assert (module, attribute) == (f"lambdas.{name.lower()}", "handler")
    assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_the_newest_python_on_arm(stack: Deployed, name: str) -> None:
    known = [int(match[1]) for each in dir(lambda_.Runtime) if (match := re.fullmatch(r"PYTHON_3_(\d+)", each))]
    assert stack.function(name)["Runtime"] == f"python3.{max(known)}" == RUNTIME.name
    assert stack.function(name)["Architectures"] == ["arm64"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_on_the_architecture_that_the_context_names(other_stack: Deployed, name: str) -> None:
    assert other_stack.function(name)["Architectures"] == ["x86_64"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_given_the_time_that_the_code_counts_on(stack: Deployed, name: str) -> None:
    assert stack.function(name)["Timeout"] == getattr(timings, f"{name.upper()}_TIMEOUT_S")


def test_all_functions_share_one_asset(stack: Deployed) -> None:
    assert len({stack.function(name)["Code"]["S3Key"] for name in FUNCTIONS}) == 1


def test_only_the_worker_is_free_of_lambdas_recursion_guard(stack: Deployed) -> None:
    allowed = {name for name in FUNCTIONS if stack.function(name).get("RecursiveLoop") == "Allow"}
    assert allowed == {"Worker"}


def test_there_are_no_functions_but_the_pipelines(stack: Deployed) -> None:
    assert {stack.name({"Ref": id_}) for id_ in stack.all("AWS::Lambda::Function")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_log_group_is_the_functions_own_and_forgets_after_a_month(stack: Deployed, name: str) -> None:
    group = stack.resource(stack.function(name)["LoggingConfig"]["LogGroup"])
    assert group["Properties"]["RetentionInDays"] == 30
    assert group["DeletionPolicy"] == "Delete"
    assert len(stack.all("AWS::Logs::LogGroup")) == len(FUNCTIONS)


# --- environment


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_environment_is_what_settings_reads_back(stack: Deployed, name: str) -> None:
    env: dict[str, Any] = stack.function(name)["Environment"]["Variables"]
    read = Settings.from_env(env)
    assert stack.name(read.notification_queue_url) == "Notification"
    assert stack.name(read.urgent_queue_url) == "Urgent"
    assert stack.name(read.delivery_queue_url) == "Delivery"
    assert stack.name(read.wait_queue_url) == "Wait"
    assert stack.name(read.schedule_queue_url) == "Schedule"
    assert stack.name(read.dead_letter_queue_url) == "DeadLetter"
    assert stack.name(read.ledger_table) == "Ledger"
    assert stack.name(read.consent_table) == "Consent"
    assert stack.name(read.channel_secret) == "ChannelSecret"
    assert (read.start, read.end, read.timezone, read.policy) == ("21:00", "08:00", "Asia/Seoul", "korea")
    assert (read.further_policies, read.wait_queues) == ("", 1)
    assert stack.name(read.consent_history_table) == "ConsentHistory"
    assert stack.name(read.held_table) == "Held"
    assert stack.name(read.turn_table) == "Turn"
    assert (read.record_held, read.advertising_label, read.sender_name, read.sms_encoding) == (
        False,
        True,
        "",
        "euc-kr",
    )
    assert stack.name(read.campaign_queue_url) == "Campaign"
    campaign_role, _ = stack.function("Campaign")["Role"]["Fn::GetAtt"]
    sender: Any = read.campaign_sender
    assert sender == ("" if name == "Campaign" else {"Fn::GetAtt": [campaign_role, "RoleId"]})
    assert read.recipients == "", "everybody is called"
    assert stack.name(read.alert_topic) == "Alerts"
    assert read.runbook_url == ""
    assert str(read.dashboard_url).endswith("#dashboards/dashboard/QuietHours-', {'Ref': 'AWS::Region'}]]}")
    assert set(env) - set(read.to_env()) == {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"}
    assert env["POWERTOOLS_SERVICE_NAME"] == name.lower()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_context_reaches_the_environment(other_stack: Deployed, name: str) -> None:
    read = Settings.from_env(other_stack.function(name)["Environment"]["Variables"])
    assert (read.start, read.end, read.timezone, read.policy) == ("22:30", "07:15", "America/New_York", "strict")
    assert (read.record_held, read.advertising_label, read.sender_name) == (True, False, "온결")
    assert read.campaign_sender == ""
    assert read.recipients == "listed"
    assert read.runbook_url == "https://wiki.example.com/runbook"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_endpoint_is_declared_for_sam_only_when_asked_for(
    stack: Deployed, other_stack: Deployed, name: str
) -> None:
    assert "AWS_ENDPOINT_URL" not in stack.function(name)["Environment"]["Variables"]
    assert other_stack.function(name)["Environment"]["Variables"]["AWS_ENDPOINT_URL"] == ""


# --- roles

PERMISSIONS = {
    "Producer": {
        ("sqs:SendMessage", "Notification"),
        ("sqs:SendMessage", "Urgent"),
        ("dynamodb:BatchGetItem", "Consent"),
        ("dynamodb:GetItem", "Ledger"),
        ("dynamodb:PutItem", "Ledger"),
    },
    "Registrar": {
        ("dynamodb:GetItem", "Consent"),
        ("dynamodb:PutItem", "Consent"),
        ("dynamodb:PutItem", "ConsentHistory"),
        ("dynamodb:Query", "ConsentHistory"),
        ("dynamodb:Query", "Consent/index/ByRenotifyDue"),
    },
    "Consumer": {
        ("sqs:ReceiveMessage", "Notification"),
        ("sqs:DeleteMessage", "Notification"),
        ("sqs:GetQueueAttributes", "Notification"),
        ("sqs:SendMessage", "Urgent"),
        ("sqs:SendMessage", "Delivery"),
        ("sqs:SendMessage", "Schedule"),
        ("sqs:SendMessage", "Wait"),
        ("sqs:SendMessage", "DeadLetter"),
        ("dynamodb:BatchGetItem", "Consent"),
        ("dynamodb:PutItem", "Held"),
    },
    "Scheduler": {
        ("sqs:ReceiveMessage", "Wait"),
        ("sqs:DeleteMessage", "Wait"),
        ("sqs:SendMessage", "Schedule"),
        ("sns:Publish", "Alerts"),
    },
    "Worker": {
        ("sqs:ReceiveMessage", "Urgent"),
        ("sqs:DeleteMessage", "Urgent"),
        ("sqs:GetQueueAttributes", "Urgent"),
        ("sqs:SendMessage", "Urgent"),
        ("sqs:ReceiveMessage", "Delivery"),
        ("sqs:DeleteMessage", "Delivery"),
        ("sqs:GetQueueAttributes", "Delivery"),
        ("sqs:ReceiveMessage", "Schedule"),
        ("sqs:DeleteMessage", "Schedule"),
        ("sqs:GetQueueAttributes", "Schedule"),
        ("sqs:SendMessage", "Delivery"),
        ("sqs:SendMessage", "Schedule"),
        ("sqs:SendMessage", "Wait"),
        ("sqs:SendMessage", "DeadLetter"),
        ("dynamodb:GetItem", "Ledger"),
        ("dynamodb:PutItem", "Ledger"),
        ("dynamodb:BatchGetItem", "Held"),
        ("dynamodb:PutItem", "Held"),
        ("dynamodb:BatchWriteItem", "Ledger"),
        ("dynamodb:GetItem", "Turn"),
        ("dynamodb:UpdateItem", "Turn"),
        ("dynamodb:BatchGetItem", "Consent"),
        ("secretsmanager:GetSecretValue", "ChannelSecret"),
        ("ses:SendEmail", "ses:identity/*"),
        ("ses:SendEmail", "ses:configuration-set/*"),
        ("sms-voice:SendTextMessage", "sms-voice:phone-number/*"),
        ("sms-voice:SendTextMessage", "sms-voice:pool/*"),
        ("sms-voice:SendTextMessage", "sms-voice:sender-id/*"),
        ("sns:Publish", "sns:endpoint/*"),
    },
    "Campaign": {
        ("sqs:ReceiveMessage", "Campaign"),
        ("sqs:DeleteMessage", "Campaign"),
        ("sqs:GetQueueAttributes", "Campaign"),
        ("sqs:ChangeMessageVisibility", "Campaign"),
        ("sqs:SendMessage", "Notification"),
        ("sqs:GetQueueAttributes", "Notification"),
        ("s3:GetObject", "Bucket/campaigns/*"),
        ("s3:GetObject", "Bucket/progress/*"),
        ("s3:GetObject", "Bucket/reports/*"),
        ("s3:PutObject", "Bucket/reports/*"),
        ("s3:PutObject", "Bucket/progress/*"),
        ("s3:DeleteObject", "Bucket/progress/*"),
        ("s3:ListBucket", "Bucket"),
    },
    "Alerter": {
        ("secretsmanager:GetSecretValue", "ChannelSecret"),
    },
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_role_allows_exactly_what_its_function_does(stack: Deployed, name: str) -> None:
    log = {("logs:CreateLogStream", f"{name} log"), ("logs:PutLogEvents", f"{name} log")}
    assert stack.permissions(stack.function(name)["Role"]) == PERMISSIONS[name] | log


def test_what_recording_the_held_takes_is_allowed_only_where_it_is_asked_for(other_stack: Deployed) -> None:
    more = {
        "Producer": {
            ("dynamodb:GetItem", "Held"),
            ("dynamodb:Query", "Held/index/BySource"),
            ("dynamodb:Query", "Held/index/BySourceShard"),
        },
        "Consumer": {("dynamodb:BatchGetItem", "Held"), ("dynamodb:BatchWriteItem", "Held")},
    }
    for name in FUNCTIONS:
        log = {("logs:CreateLogStream", f"{name} log"), ("logs:PutLogEvents", f"{name} log")}
        allowed = other_stack.permissions(other_stack.function(name)["Role"])
        assert allowed == PERMISSIONS[name] | log | more.get(name, set())


def test_only_the_registrar_may_write_consents(stack: Deployed, other_stack: Deployed) -> None:
    for deployed in (stack, other_stack):
        writers = {
            name
            for name in FUNCTIONS
            for action, resource in deployed.permissions(deployed.function(name)["Role"])
            if resource in ("Consent", "ConsentHistory") and not action.endswith(("GetItem", "Query"))
        }
        assert writers == {"Registrar"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_role_is_lambdas_to_take_and_one_functions_alone(stack: Deployed, name: str) -> None:
    (trust,) = stack.resource(stack.function(name)["Role"])["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert (trust["Action"], trust["Principal"]) == ("sts:AssumeRole", {"Service": "lambda.amazonaws.com"})
    others = [stack.function(other)["Role"] for other in FUNCTIONS if other != name]
    assert stack.function(name)["Role"] not in others


def test_permissions_stand_in_the_roles_themselves_and_nowhere_else(stack: Deployed) -> None:
    """Inline, so that an event source, which needs its function, which needs its role, never starts without them."""
    for type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::RolePolicy"):
        assert stack.all(type_) == {}
    for role in stack.all("AWS::IAM::Role").values():
        assert "ManagedPolicyArns" not in role


def test_nothing_is_allowed_by_wildcard_but_whom_the_channels_send_as(stack: Deployed) -> None:
    def statements(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return [found for each in value for found in statements(each)]
        if not isinstance(value, dict):
            return []
        return ([value] if "Effect" in value else []) + [found for each in value.values() for found in statements(each)]

    allowed = [statement for statement in statements(stack.template["Resources"]) if statement["Effect"] == "Allow"]
    assert len(allowed) > len(FUNCTIONS)
    shown = [json.dumps(each) for each in allowed]
    for objects in ("/campaigns/*", "/progress/*", "/reports/*"):  # an object has no name before it is there
        shown = [each.replace(objects, "") for each in shown]
    wild = [json.loads(each) for each in shown if "*" in each]
    assert {statement["Action"] for statement in wild} == {"ses:SendEmail", "sms-voice:SendTextMessage", "sns:Publish"}
    assert not [statement for statement in wild if "*" in str(statement["Action"])]


# --- event sources


def test_the_lanes_and_the_entry_are_what_feeds_functions(stack: Deployed) -> None:
    assert set(stack.feeds()) == {
        ("Notification", "Consumer"),
        ("Urgent", "Worker"),
        ("Delivery", "Worker"),
        ("Schedule", "Worker"),
        ("Campaign", "Campaign"),
    }


@pytest.mark.parametrize("function", ["Producer", "Consumer"])
def test_nothing_feeds_urgent_before_its_workers_are_there(stack: Deployed, function: str) -> None:
    """In an update, CloudFormation brings the new worker and its event source first, and then what feeds the queue."""
    made = stack.resource(stack.outputs[f"{function}FunctionName"])
    sources = stack.all("AWS::Lambda::EventSourceMapping")
    needed = [sources[id_] for id_ in made["DependsOn"] if id_ in sources]
    assert [(stack.name(each["EventSourceArn"]), stack.name(each["FunctionName"])) for each in needed] == [
        ("Urgent", "Worker")
    ]


def test_nothing_consumes_what_is_held(stack: Deployed) -> None:
    assert "Wait" not in {queue for queue, _ in stack.feeds()}
    may_receive = {
        name for name in FUNCTIONS if ("sqs:ReceiveMessage", "Wait") in stack.permissions(stack.function(name)["Role"])
    }
    assert may_receive == {"Scheduler"}


def test_no_function_but_the_worker_can_feed_itself(stack: Deployed) -> None:
    """Lambda ends a chain that goes round sixteen times, so the only loop is the one whose guard is off."""
    starts = dict(stack.feeds().keys())
    next_ = {
        name: {
            starts[queue]
            for action, queue in stack.permissions(stack.function(name)["Role"])
            if action == "sqs:SendMessage" and queue in starts
        }
        for name in FUNCTIONS
    }

    def reached_from(name: str) -> set[str]:
        reached: set[str] = set()
        frontier = next_[name]
        while frontier - reached:
            reached |= frontier
            frontier = {further for each in frontier for further in next_[each]}
        return reached

    assert {name for name in FUNCTIONS if name in reached_from(name)} == {"Worker"}
    assert reached_from("Producer") == reached_from("Campaign") == {"Consumer", "Worker"}


@pytest.mark.parametrize(
    "edge", [("Notification", "Consumer"), ("Urgent", "Worker"), ("Delivery", "Worker"), ("Schedule", "Worker")]
)
def test_one_bad_message_does_not_bring_its_batch_back(stack: Deployed, edge: tuple[str, str]) -> None:
    assert stack.feeds()[edge]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_the_worker_is_given_one_bundle_at_a_time_and_at_once(stack: Deployed, other_stack: Deployed) -> None:
    for deployed in (stack, other_stack):
        for lane in ("Urgent", "Delivery", "Schedule"):
            source = deployed.feeds()[lane, "Worker"]
            assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (1, 0)


def test_a_password_code_waits_for_no_window_unless_one_is_set(stack: Deployed, other_stack: Deployed) -> None:
    source = stack.feeds()["Notification", "Consumer"]
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (10, 0)
    source = other_stack.feeds()["Notification", "Consumer"]
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (1000, 20)


def test_concurrency_is_bounded_per_lane_as_configured(stack: Deployed, other_stack: Deployed) -> None:
    def concurrency(deployed: Deployed) -> dict[str, int]:
        return {queue: feed["ScalingConfig"]["MaximumConcurrency"] for (queue, _), feed in deployed.feeds().items()}

    assert concurrency(stack) == {"Notification": 2, "Urgent": 2, "Delivery": 2, "Schedule": 2, "Campaign": 2}
    assert concurrency(other_stack) == {"Notification": 3, "Urgent": 6, "Delivery": 4, "Schedule": 5, "Campaign": 2}


def test_where_no_campaign_files_are_read_nothing_is_made_for_them(stack: Deployed) -> None:
    template = Template.from_stack(make_stack(campaigns="false")).to_json()
    outputs = {name for name in stack.outputs if not name.startswith("Campaign")}
    assert template["Outputs"].keys() == outputs
    assert len(stack.outputs) == len(outputs) + 3
    resources = template["Resources"]
    assert [id_ for id_, each in resources.items() if "ampaign" in id_ or each["Type"] == "AWS::S3::Bucket"] == []
    left = json.dumps({id_: each.get("Properties", {}).get("Environment") for id_, each in resources.items()})
    assert re.findall(r'"QUIET_HOURS_CAMPAIGN_\w+": "(.*?)"', left) == [""] * 2 * (len(FUNCTIONS) - 1)
    kept = {id_: each for id_, each in stack.template["Resources"].items() if "ampaign" not in id_}
    assert kept.keys() == resources.keys()


def test_no_concurrency_is_reserved(stack: Deployed) -> None:
    """A reservation fails to deploy in an account that has only ten."""
    assert not [name for name in FUNCTIONS if "ReservedConcurrentExecutions" in stack.function(name)]


def test_every_working_queue_has_one_reader(stack: Deployed) -> None:
    for queue in WORKING_QUEUES:
        readers = [
            n for n in FUNCTIONS if ("sqs:ReceiveMessage", queue) in stack.permissions(stack.function(n)["Role"])
        ]
        assert len(readers) == 1, queue
