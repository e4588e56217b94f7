"""Sources in the synthesised stack: what starts them, what they may do, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Duration, Stack, Validations
from aws_cdk import aws_lambda as lambda_
from aws_cdk.assertions import Template
from cdk_nag import AwsSolutionsChecks

from examples.order_digest.stack import DigestStack
from infra.quiet_hours import QuietHours
from infra.sources import ANSWERS_WITHIN
from lambdas.quiet_hours.timings import SOURCE_TIMEOUT_S
from lambdas.source import ANSWERS_WITHIN_S, VARIABLE
from tests.helpers.stack_template import CONTEXT, ROOT, Deployed

pytestmark = pytest.mark.xdist_group("stack")

PAGE = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop() -> Deployed:
    stack = DigestStack(App(context=CONTEXT), "Shop")
    (logs,) = (each for each in stack.source.node.scope.node.children if each.node.id == "SourceLogs")
    return Deployed(stack, Source=stack.source, Digest=stack.digest, SourceLog=logs)


def source(deployed: Deployed) -> dict[str, Any]:
    (found,) = (each for each in deployed.all("AWS::Lambda::Function").values() if VARIABLE in str(each))
    return found


def test_the_example_runs_as_it_says(tmp_path: Path) -> None:
    env = {"PATH": str(Path(sys.executable).parent), "HOME": os.environ["HOME"], "CDK_OUTDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "examples.order_digest.stack"], cwd=ROOT, env=env, check=True)
    assert (tmp_path / "Shop.template.json").exists()


def test_the_page_shows_the_example_as_it_is() -> None:
    shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    files = ("stack.py", "digest.py")
    assert len(shown) == len(files)
    for text, file in zip(shown, files, strict=True):
        assert text.strip() in (ROOT / "examples" / "order_digest" / file).read_text(encoding="utf-8")


def test_r6_a_schedule_starts_the_source_at_its_local_time_and_says_which_time_that_is(shop: Deployed) -> None:
    schedules = shop.all("AWS::Scheduler::Schedule").values()
    (ours,) = (each for each in schedules if shop.name(each["Target"]["Arn"]) == "Source")
    assert (ours["ScheduleExpression"], ours["ScheduleExpressionTimezone"]) == ("cron(0 10 * * ? *)", "Asia/Seoul")
    assert ours["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert json.loads(ours["Target"]["Input"]) == {"scheduled_at": "<aws.scheduler.scheduled-time>"}
    assert ours["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] == 3600
    assert shop.permissions(ours["Target"]["RoleArn"]) == {("lambda:InvokeFunction", "Source")}


def test_the_source_knows_its_times_and_the_function_to_ask(shop: Deployed) -> None:
    (_, parts) = source(shop)["Environment"]["Variables"][VARIABLE]["Fn::Join"]
    (digest,) = (part for part in parts if not isinstance(part, str))
    assert shop.name(digest) == "Digest"
    described = json.loads("".join(part if isinstance(part, str) else "arn" for part in parts))
    expected = {"name": "OrderDigest", "times": ["10:00"], "timezone": "Asia/Seoul", "function": "arn"}
    assert described == expected


def test_the_source_may_ask_and_accept_and_nothing_more(shop: Deployed) -> None:
    assert shop.permissions(source(shop)["Role"]) == {
        ("logs:CreateLogStream", "SourceLog"),
        ("logs:PutLogEvents", "SourceLog"),
        ("lambda:InvokeFunction", "Digest"),
        ("sqs:SendMessage", "Notification"),
        ("sqs:SendMessage", "DeadLetter"),
        ("sns:Publish", "Alerts"),
    }


def test_a_failed_run_is_tried_twice_more_and_then_told(shop: Deployed) -> None:
    invokes = shop.all("AWS::Lambda::EventInvokeConfig").values()
    (ours,) = (each for each in invokes if shop.name(each["FunctionName"]) == "Source")
    assert ours["MaximumRetryAttempts"] == 2
    assert ours["MaximumEventAgeInSeconds"] == 3600
    assert shop.name(ours["DestinationConfig"]["OnFailure"]["Destination"]) == "Alerts"


def test_the_handler_is_what_the_code_has_with_time_for_the_users_function(shop: Deployed) -> None:
    found = source(shop)
    assert found["Handler"] == "lambdas.source.handler"
    assert found["Timeout"] == SOURCE_TIMEOUT_S > ANSWERS_WITHIN_S == ANSWERS_WITHIN.to_seconds()
    assert f"within {ANSWERS_WITHIN_S} s" in PAGE


def test_a_stack_without_sources_has_nothing_of_them(stack: Deployed) -> None:
    assert VARIABLE not in json.dumps(stack.template)
    assert len(stack.all("AWS::Scheduler::Schedule")) == 1


# --- other sources


def with_source(at: list[str], timezone: str = "Asia/Seoul", timeout_s: int | None = None, **context: Any) -> Stack:
    app = App(context=CONTEXT | context)
    stack = Stack(app, "Shop")
    quiet_hours = QuietHours(stack, "QuietHours")
    if timeout_s is None:
        arn = "arn:aws:lambda:us-east-1:123456789012:function:theirs"
        theirs: lambda_.IFunction = lambda_.Function.from_function_arn(stack, "Theirs", arn)
    else:
        theirs = lambda_.Function(
            stack,
            "Theirs",
            code=lambda_.Code.from_inline("def handler(event, context): return []"),
            handler="index.handler",
            runtime=lambda_.Runtime.PYTHON_3_14,
            timeout=Duration.seconds(timeout_s),
        )
    quiet_hours.add_source("Reminders", theirs, at=at, timezone=timezone)
    return stack


def warnings(stack: Stack) -> list[str]:
    return [
        str(each.data)
        for construct in stack.node.find_all()
        for each in construct.node.metadata
        if each.type == "aws:cdk:warning" and "does not run on" in str(each.data)
    ]


def test_each_time_of_a_source_is_a_schedule() -> None:
    resources = Template.from_stack(with_source(["18:30", "10:00"], "Europe/Paris")).to_json()["Resources"].values()
    found = [each["Properties"] for each in resources if each["Type"] == "AWS::Scheduler::Schedule"]
    paris = [each["ScheduleExpression"] for each in found if each["ScheduleExpressionTimezone"] == "Europe/Paris"]
    assert sorted(paris) == ["cron(0 10 * * ? *)", "cron(30 18 * * ? *)"]


def test_the_day_on_which_the_clocks_leave_out_a_time_is_a_warning() -> None:
    (said,) = warnings(with_source(["10:00", "02:30"], "America/New_York"))
    assert re.match(
        r"Reminders does not run on 20\d\d-03-\d\d: the clocks of America/New_York leave out 02:30 on that day\.", said
    )


@pytest.mark.parametrize(("at", "timezone"), [("10:00", "America/New_York"), ("02:30", "Asia/Seoul")])
def test_a_time_that_comes_every_day_is_no_warning(at: str, timezone: str) -> None:
    assert warnings(with_source([at], timezone)) == []


def test_a_function_that_may_take_longer_than_it_is_waited_for_is_refused() -> None:
    with pytest.raises(ValueError, match="the function of the source Reminders may take 840 s, not 841 s"):
        with_source(["10:00"], timeout_s=841)
    with_source(["10:00"], timeout_s=840)


@pytest.mark.parametrize("at", [["25:00"], [], "10:00"])
def test_times_that_cannot_be_are_refused(at: Any) -> None:
    with pytest.raises(ValueError, match="a source's times must be a list such as"):
        with_source(at)


def test_cdk_nag_finds_nothing_in_a_source(tmp_path: Path) -> None:
    stack = with_source(["10:00"])
    app = stack.node.root
    assert isinstance(app, App)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
