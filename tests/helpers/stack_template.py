"""The synthesised stack by the names of its outputs: the tests never use generated ids."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnElement, Stack
from aws_cdk.assertions import Template
from constructs import IConstruct

from infra.config import Config
from infra.pipeline_stack import PipelineStack

ROOT = Path(__file__).resolve().parent.parent.parent
CONTEXT: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text())["context"]
FLAGS = {name: value for name, value in CONTEXT.items() if name.startswith("@aws-cdk")}
DEFAULTS = {name: value for name, value in CONTEXT.items() if name not in FLAGS}
"""The context that is ours: what is left of cdk.json without the CDK's feature flags."""

QUEUES = ("Notification", "Urgent", "Delivery", "Wait", "Schedule", "Campaign", "DeadLetter")
WORKING_QUEUES = QUEUES[:-1]
FUNCTIONS = ("Producer", "Registrar", "Consumer", "Scheduler", "Worker", "Campaign", "Alerter")
TABLES = ("Ledger", "Consent", "ConsentHistory", "Held", "Turn")

Properties = dict[str, Any]


class Deployed:
    """A stack as CloudFormation gets it. The resource behind an output `XQueueUrl` is the queue X, and so on.

    `others` names resources that have no output.
    """

    def __init__(self, stack: Stack, **others: IConstruct) -> None:
        self.template = dict(Template.from_stack(stack).to_json())
        self.outputs: dict[str, Any] = {key: output["Value"] for key, output in self.template["Outputs"].items()}
        self._names = {
            self._logical_id(self.outputs[name + suffix]): name
            for names, suffix in ((QUEUES, "QueueUrl"), (FUNCTIONS, "FunctionName"), (TABLES, "TableName"))
            for name in names
        }
        self._names |= dict.fromkeys(self.all("AWS::SecretsManager::Secret"), "ChannelSecret")
        self._names[self._logical_id(self.outputs["AlertTopicArn"])] = "Alerts"
        self._names[self._logical_id(self.outputs["NotificationTopicArn"])] = "Notifications"
        self._names[self._logical_id(self.outputs["CampaignBucketName"])] = "Bucket"
        self._names |= {
            self._logical_id(self.function(name)["LoggingConfig"]["LogGroup"]): f"{name} log" for name in FUNCTIONS
        }
        for name, other in others.items():
            resource = other.node.default_child
            assert isinstance(resource, CfnElement)
            self._names[stack.resolve(resource.logical_id)] = name

    def all(self, type_: str) -> dict[str, Properties]:
        """Every resource of a CloudFormation type: its properties by its generated id."""
        resources: dict[str, Properties] = self.template["Resources"]
        return {id_: found.get("Properties", {}) for id_, found in resources.items() if found["Type"] == type_}

    def only(self, type_: str) -> Properties:
        (found,) = self.all(type_).values()
        return found

    def resource(self, reference: Any) -> dict[str, Any]:
        """The whole resource that a Ref or a GetAtt points at."""
        found: dict[str, Any] = self.template["Resources"][self._logical_id(reference)]
        return found

    def queue(self, name: str) -> Properties:
        properties: Properties = self.resource(self.outputs[f"{name}QueueUrl"])["Properties"]
        return properties

    def function(self, name: str) -> Properties:
        properties: Properties = self.resource(self.outputs[f"{name}FunctionName"])["Properties"]
        return properties

    def table(self, name: str) -> Properties:
        properties: Properties = self.resource(self.outputs[f"{name}TableName"])["Properties"]
        return properties

    def name(self, reference: Any) -> str:
        """Name the thing that a reference points at: `Wait`, `Worker`, `ChannelSecret`, `Worker log`,
        `Held/index/BySource`, …; an ARN of this account in any region that is put together is shown as
        `sns:endpoint/*`."""
        if parts := reference.get("Fn::Join"):
            text = "".join(part if isinstance(part, str) else str(part.get("Ref")) for part in parts[1])
            if ours := re.fullmatch(r"arn:AWS::Partition:([a-z-]+):\*:AWS::AccountId:([a-z/*-]+)", text):
                return f"{ours[1]}:{ours[2]}"
            (of, rest) = parts[1]
            return self.name(of) + str(rest)
        return self._names[self._logical_id(reference)]

    def permissions(self, role_reference: Any) -> set[tuple[str, str]]:
        """Everything that a role allows, as (action, name of the resource)."""
        role = self.resource(role_reference)["Properties"]
        statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
        assert all(statement["Effect"] == "Allow" for statement in statements)
        return {
            (action, self.name(resource))
            for statement in statements
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }

    def queue_policy(self, name: str) -> list[dict[str, Any]]:
        (statements,) = (
            policy["PolicyDocument"]["Statement"]
            for policy in self.all("AWS::SQS::QueuePolicy").values()
            if name in map(self.name, policy["Queues"])
        )
        return list(statements)

    def feeds(self) -> dict[tuple[str, str], Properties]:
        """The event sources: their properties by (queue, function)."""
        return {
            (self.name(source["EventSourceArn"]), self.name(source["FunctionName"])): source
            for source in self.all("AWS::Lambda::EventSourceMapping").values()
        }

    @staticmethod
    def _logical_id(reference: Any) -> str:
        (value,) = reference.values()
        return str(value if isinstance(value, str) else value[0])


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def make_stack(**context: Any) -> PipelineStack:
    """Make the app's own stack, with some of the context of cdk.json changed."""
    app = App(context=CONTEXT | context)
    config = Config.from_context(app.node)
    return PipelineStack(app, config.stack_name, config)


@pytest.fixture(scope="session")
def stack() -> Deployed:
    """The stack with the defaults of cdk.json."""
    return Deployed(make_stack())


@pytest.fixture(scope="session")
def other_stack() -> Deployed:
    """The stack with every setting changed, as text, which is how `-c` brings it."""
    context = {
        "quietHoursStart": "22:30",
        "quietHoursEnd": "07:15",
        "kakaoClosed": "22:30-07:15",
        "timezone": "America/New_York",
        "policy": "strict",
        "consumerConcurrency": "3",
        "urgentConcurrency": "6",
        "deliveryConcurrency": "4",
        "releaseConcurrency": "5",
        "accountConcurrency": "40",
        "batchingWindowSeconds": "20",
        "alertEmail": "ops@example.com",
        "recordHeld": "true",
        "advertisingLabel": "false",
        "senderName": "온결",
        "checkCampaignSender": "false",
        "recipients": "listed",
        "runbookUrl": "https://wiki.example.com/runbook",
        "architecture": "x86_64",
        "localEndpoint": "true",
    }
    return Deployed(make_stack(**context))
