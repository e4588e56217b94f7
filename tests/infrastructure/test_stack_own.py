"""The construct in somebody else's stack: examples/own_stack.py, and which queues and topics can be ways in."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack, Validations
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from examples.own_stack import ShopStack
from infra.props import QuietHoursProps
from infra.quiet_hours import QuietHours
from tests.helpers.stack_template import CONTEXT, ROOT, Deployed
from tests.infrastructure.test_stack_functions import PERMISSIONS

pytestmark = pytest.mark.xdist_group("stack")

READ = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """The example, which cdk-nag has looked at."""
    app = App(outdir=str(tmp_path_factory.mktemp("shop")))  # without our cdk.json: their app has flags of its own
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    stack = ShopStack(app, "Shop")
    app.synth()
    return Deployed(stack, Orders=stack.orders, FailedOrders=stack.failed_orders, News=stack.news)


def test_the_example_runs_as_it_says(tmp_path: Path) -> None:
    env = {"PATH": str(Path(sys.executable).parent), "HOME": os.environ["HOME"], "CDK_OUTDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "examples.own_stack"], cwd=ROOT, env=env, check=True)
    assert (tmp_path / "Shop.template.json").exists()


def test_the_page_shows_the_example_as_it_is() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-stack.md").read_text(), re.DOTALL)
    assert shown.strip() in (ROOT / "examples" / "own_stack.py").read_text()


def test_the_outputs_tell_our_commands_where_everything_is(shop: Deployed, stack: Deployed) -> None:
    assert shop.outputs.keys() == stack.outputs.keys()


def test_names_begin_with_the_stacks_and_the_constructs(shop: Deployed) -> None:
    assert shop.queue("Wait")["QueueName"].startswith("Shop-QuietHours-")
    assert shop.queue("Wait")["QueueName"].endswith("-Wait")


def test_their_queue_feeds_the_consumer_beside_ours(shop: Deployed, stack: Deployed) -> None:
    assert set(shop.feeds()) - set(stack.feeds()) == {("Orders", "Consumer")}
    source = shop.feeds()["Orders", "Consumer"]
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["ScalingConfig"] == {"MaximumConcurrency": 2}
    # All that Lambda takes for a FIFO queue: at most ten messages, and no window.
    assert source["BatchSize"] == 10
    assert "MaximumBatchingWindowInSeconds" not in source


def test_the_consumer_may_read_their_queue_and_nothing_more(shop: Deployed) -> None:
    log = {("logs:CreateLogStream", "Consumer log"), ("logs:PutLogEvents", "Consumer log")}
    allowed = shop.permissions(shop.function("Consumer")["Role"])
    assert allowed == PERMISSIONS["Consumer"] | log | {(action, "Orders") for action in READ}


def test_their_queue_stays_invisible_for_six_timeouts_of_the_consumer(shop: Deployed) -> None:
    """The property's description says so."""
    (orders,) = (
        each
        for each in shop.all("AWS::SQS::Queue").values()
        if "maxReceiveCount" in str(each) and each.get("FifoQueue")
    )
    assert orders["VisibilityTimeout"] >= 6 * shop.function("Consumer")["Timeout"] == 180


def test_what_is_published_on_their_topic_goes_to_the_notification_queue_in_sns_envelope(shop: Deployed) -> None:
    found = {
        shop.name(each["TopicArn"]): each
        for each in shop.all("AWS::SNS::Subscription").values()
        if each["Protocol"] == "sqs"
    }
    assert set(found) == {"Notifications", "News"}
    news = found["News"]
    assert shop.name(news["Endpoint"]) == "Notification"
    assert news["RawMessageDelivery"] is False
    assert shop.name(news["RedrivePolicy"]["deadLetterTargetArn"]) == "DeadLetter"


@pytest.mark.parametrize("queue", ["Notification", "DeadLetter"])
def test_the_queues_let_their_topic_in(shop: Deployed, queue: str) -> None:
    topics = [
        shop.name(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
        for statement in shop.queue_policy(queue)
        if statement["Effect"] == "Allow" and statement["Principal"] == {"Service": "sns.amazonaws.com"}
    ]
    assert sorted(topics) == ["News", "Notifications"]


# --- other queues of theirs


def _stack() -> tuple[Stack, sqs.DeadLetterQueue]:
    stack = Stack(App(context=CONTEXT), "Shop")
    return stack, sqs.DeadLetterQueue(queue=sqs.Queue(stack, "Failed"), max_receive_count=10)


def _template(stack: Stack, *queues: sqs.IQueue) -> dict[str, Any]:
    QuietHours(stack, "QuietHours", QuietHoursProps(queues=queues))
    return dict(Template.from_stack(stack).to_json()["Resources"])


def _sources(resources: dict[str, Any], queue_arn: Any) -> list[dict[str, Any]]:
    found = (each["Properties"] for each in resources.values() if each["Type"] == "AWS::Lambda::EventSourceMapping")
    return [each for each in found if each["EventSourceArn"] == queue_arn]


def test_a_standard_queue_can_be_a_way_in_and_waits_for_no_window() -> None:
    stack, failed = _stack()
    queue = sqs.Queue(stack, "Orders", visibility_timeout=Duration.minutes(3), dead_letter_queue=failed)
    resources = _template(stack, queue)
    (source,) = _sources(resources, stack.resolve(queue.queue_arn))
    assert (source["BatchSize"], source["MaximumBatchingWindowInSeconds"]) == (10, 0)


def test_queues_of_one_name_in_other_places_can_both_be_ways_in() -> None:
    stack = Stack(App(context=CONTEXT), "Shop")
    arns = [f"arn:aws:sqs:ap-northeast-2:123456789012:{name}" for name in ("a", "b.fifo")]
    queues = [
        sqs.Queue.from_queue_arn(sqs.Queue(stack, name), "Orders", arn) for name, arn in zip("AB", arns, strict=True)
    ]
    resources = _template(stack, *queues)
    assert [len(_sources(resources, arn)) for arn in arns] == [1, 1]
    assert "MaximumBatchingWindowInSeconds" not in _sources(resources, arns[1])[0]


def test_the_consumer_may_decrypt_what_is_on_a_queue_with_a_key() -> None:
    stack, failed = _stack()
    key = kms.Key(stack, "Key")
    queue = sqs.Queue(stack, "Orders", encryption_master_key=key, dead_letter_queue=failed)
    resources = _template(stack, queue)
    deciphering = {
        id_: statement
        for id_, role in resources.items()
        if role["Type"] == "AWS::IAM::Role"
        for statement in role["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        if "kms" in json.dumps(statement["Action"])
    }
    ((role, statement),) = deciphering.items()
    assert "ConsumerRole" in role
    assert (statement["Action"], statement["Resource"]) == ("kms:Decrypt", stack.resolve(key.key_arn))


def test_a_queue_that_would_drop_what_keeps_failing_is_refused() -> None:
    stack, _ = _stack()
    with pytest.raises(ValueError) as raised:
        _template(stack, sqs.Queue(stack, "Orders"))
    assert str(raised.value) == "the queue Shop/Orders needs a dead-letter queue of its own to be a way in"


def test_an_imported_topic_can_be_a_way_in() -> None:
    stack, _ = _stack()
    arn = "arn:aws:sns:ap-northeast-2:123456789012:news"
    QuietHours(stack, "QuietHours", QuietHoursProps(topics=[sns.Topic.from_topic_arn(stack, "News", arn)]))
    resources = Template.from_stack(stack).to_json()["Resources"].values()
    (found,) = (each for each in resources if each.get("Properties", {}).get("TopicArn") == arn)
    assert (found["Type"], found["Properties"]["Protocol"]) == ("AWS::SNS::Subscription", "sqs")
