"""The context of cdk.json: its defaults, and what a wrong value is told."""

import json
import os
import runpy
import subprocess
import sys
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk
import pytest
from aws_cdk import App, Stack
from aws_cdk.aws_sqs import Queue

from infra import pipeline_stack
from infra.config import Config, flag
from infra.props import QuietHoursProps
from infra.quiet_hours import QuietHours
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.terms import Hours
from lambdas.quiet_hours.settings import Settings
from tests.helpers.stack_template import CONTEXT, DEFAULTS, FLAGS, ROOT, make_stack

pytestmark = pytest.mark.xdist_group("stack")


def _config(**context: Any) -> Config:
    return Config.from_context(App(context=DEFAULTS | context).node)


def test_cdk_json_carries_the_documented_defaults() -> None:
    assert DEFAULTS == {
        "stackName": "QuietHours",
        "env": "",
        "tags": "",
        "terminationProtection": False,
        "quietHoursStart": "21:00",
        "quietHoursEnd": "08:00",
        "timezone": "Asia/Seoul",
        "policy": "korea",
        "furtherPolicies": "",
        "policyFolder": "",
        "kakaoClosed": "20:50-08:00",
        "waitQueues": 1,
        "consumerConcurrency": 2,
        "urgentConcurrency": 2,
        "deliveryConcurrency": 2,
        "releaseConcurrency": 2,
        "accountConcurrency": 10,
        "campaigns": True,
        "batchingWindowSeconds": 0,
        "alertEmail": "",
        "recordHeld": False,
        "advertisingLabel": True,
        "senderName": "",
        "smsEncoding": "euc-kr",
        "checkCampaignSender": True,
        "advertisingConsent": "elsewhere",
        "recipients": "",
        "runbookUrl": "",
        "architecture": "arm64",
    }


def test_cdk_json_carries_the_feature_flags_that_the_pinned_cdk_recommends() -> None:
    (package,) = Path(aws_cdk.__file__).parent.glob("_jsii/aws-cdk-lib@*.jsii.tgz")
    with tarfile.open(package) as archive:
        found = archive.extractfile("package/recommended-feature-flags.json")
        assert found
        recommended = json.load(found)
    assert len(recommended) > 50
    assert recommended == FLAGS


def test_the_defaults_of_cdk_json_are_the_constructs_own() -> None:
    assert _config().quiet_hours == QuietHoursProps()


def test_the_defaults_are_the_functions_own() -> None:
    own = {name: field.default for name, field in Settings.__dataclass_fields__.items()}
    assert own["start"] == DEFAULTS["quietHoursStart"]
    assert own["end"] == DEFAULTS["quietHoursEnd"]
    assert own["timezone"] == DEFAULTS["timezone"]
    assert own["policy"] == DEFAULTS["policy"]
    assert own["kakao_closed"] == DEFAULTS["kakaoClosed"]
    assert own["advertising_consent"] == DEFAULTS["advertisingConsent"]
    assert own["further_policies"] == DEFAULTS["furtherPolicies"]
    assert own["wait_queues"] == DEFAULTS["waitQueues"]
    assert own["sms_encoding"] == DEFAULTS["smsEncoding"]
    assert own["recipients"] == DEFAULTS["recipients"]


@pytest.mark.parametrize(
    ("context", "warned"),
    [
        ({}, True),
        ({"senderName": "온결"}, False),
        ({"advertisingLabel": "false"}, False),
        ({"policy": "strict"}, False),
    ],
)
def test_who_leaves_the_senders_name_unchecked_is_warned(context: dict[str, str], warned: bool) -> None:
    assert sum(text.startswith("senderName is empty") for text in _warnings(context)) == warned


@pytest.mark.parametrize(
    ("context", "warned"),
    [({}, True), ({"advertisingConsent": "required"}, False), ({"policy": "strict"}, False)],
)
def test_who_keeps_advertising_consent_elsewhere_is_warned(context: dict[str, str], warned: bool) -> None:
    said = _warnings(context | {"senderName": "온결", "accountConcurrency": "1000"})
    assert [text.startswith("advertisingConsent is elsewhere") for text in said] == [True] * warned


AT_ONCE = "up to {} functions may run at once (consumer 2, urgent 2, delivery 2, release 2, {}scheduler 1)"


@pytest.mark.parametrize(
    ("context", "warned"),
    [
        ({}, AT_ONCE.format(11, "campaign files 2, ")),
        ({"accountConcurrency": "11"}, ""),
        ({"campaigns": "false"}, ""),
        ({"campaigns": "false", "urgentConcurrency": "3"}, ""),
        (
            {"campaigns": "false", "urgentConcurrency": "4"},
            AT_ONCE.format(11, "").replace("urgent 2", "urgent 4"),
        ),
        (
            {"accountConcurrency": "1000", "releaseConcurrency": "995"},
            AT_ONCE.format(1004, "campaign files 2, ").replace("release 2", "release 995"),
        ),
    ],
)
def test_who_lets_more_run_at_once_than_the_account_may_is_warned(context: dict[str, str], warned: str) -> None:
    """Event sources reserve nothing: any sum of them deploys, and then starves."""
    said = [text for text in _warnings(context) if "at once" in text]
    assert len(said) == bool(warned)
    assert all(text.startswith(warned) and "accountConcurrency is" in text for text in said)


def test_each_queue_of_theirs_brings_consumers_of_its_own() -> None:
    stack = Stack(App(context=CONTEXT), "Shop")
    theirs = [Queue.from_queue_arn(stack, f"Q{n}", f"arn:aws:sqs:us-east-1:123456789012:Q{n}") for n in range(2)]
    QuietHours(stack, "Default", QuietHoursProps(queues=theirs, campaigns=False))
    (said,) = (text for text in _said(stack) if "at once" in text)
    assert said.startswith("up to 13 functions may run at once (consumer 6, urgent 2,")


def test_the_defaults_fit_the_smallest_account_where_no_campaign_files_are_read() -> None:
    """One is left for the producer."""
    assert [text for text in _warnings({"campaigns": "false"}) if "at once" in text] == []


@pytest.mark.parametrize("value", ["9", "0", "-1", "ten", "1000001", "", True])
def test_an_account_concurrency_that_cannot_be_is_named(value: object) -> None:
    with pytest.raises(ValueError, match="context accountConcurrency must be a whole number from 10 to 1000000, not"):
        _config(accountConcurrency=value)


def _warnings(context: dict[str, str]) -> list[str]:
    return _warnings_once(tuple(sorted(context.items())))


@cache
def _warnings_once(context: tuple[tuple[str, str], ...]) -> list[str]:
    """Several tests look at the same stack."""
    return _said(make_stack(**dict(context)))


def _said(stack: Stack) -> list[str]:
    return [
        str(each.data)
        for construct in stack.node.find_all()
        for each in construct.node.metadata
        if each.type == "aws:cdk:warning"
    ]


@pytest.mark.parametrize("value", ["", "here", "Required", "true"])
def test_advertising_consent_that_cannot_be_is_named(value: str) -> None:
    with pytest.raises(ValueError, match="context advertisingConsent must be elsewhere or required, not"):
        _config(advertisingConsent=value)


@pytest.mark.parametrize("value", ["everybody", "Listed", True, "010-9999-1234", "canary@example.com"])
def test_recipients_that_cannot_be_are_refused_without_showing_an_address(value: object) -> None:
    """Somebody may take the key for the list itself. What synthesis says stands in the logs of whoever deploys."""
    with pytest.raises(ValueError, match=r"context recipients must be listed or empty .*make channels-set") as refused:
        _config(recipients=value)
    with pytest.raises(ValueError, match=r"^recipients must be listed or empty .*make channels-set") as by_construct:
        QuietHoursProps(recipients=value)  # type: ignore[arg-type]
    assert str(value) not in f"{refused.value} {by_construct.value}"


@pytest.mark.parametrize(("context", "warned"), [({}, False), ({"recipients": "listed"}, True)])
def test_whoever_deploys_is_told_that_only_listed_addresses_are_called(context: dict[str, str], warned: bool) -> None:
    assert sum(text.startswith("recipients is listed: only") for text in _warnings(context)) == warned


def test_text_from_the_command_line_means_what_a_number_in_cdk_json_means() -> None:
    assert _config(deliveryConcurrency="5") == _config(deliveryConcurrency=5)


STRICT = named_policy("strict", "22:00", "07:00", "Asia/Tokyo", kakao_closed="22:00-07:00")


def test_a_policy_that_the_functions_can_build_is_accepted() -> None:
    props = QuietHoursProps(policy=STRICT)
    assert props.policy == STRICT


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"delivery_concurrency": 1}, "delivery_concurrency must be a whole number from 2 to 1000, not 1"),
        ({"release_concurrency": "2"}, "release_concurrency must be a whole number from 2 to 1000, not '2'"),
        ({"batching_window_s": 301}, "batching_window_s must be a whole number from 0 to 300, not 301"),
        ({"alert_email": "kim"}, "alert_email must be one e-mail address or empty, not 'kim'"),
        ({"record_held": "false"}, "record_held must be true or false, not 'false'"),
        ({"sender_name": " shop"}, "sender_name must be empty or a name of up to 100 characters, not ' shop'"),
        ({"sms_encoding": "utf-8"}, "sms_encoding must be euc-kr or unicode, not 'utf-8'"),
        ({"advertising_consent": "here"}, "advertising_consent must be elsewhere or required, not 'here'"),
        ({"architecture": "arm"}, "architecture must be arm64 or x86_64, not 'arm'"),
        (
            {"runbook_url": "http://wiki/runbook"},
            "runbook_url must be one https:// URL without a fragment or empty, not 'http://wiki/runbook'",
        ),
    ],
)
def test_the_construct_refuses_a_value_that_is_not_allowed_and_names_the_property(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as raised:
        QuietHoursProps(**change)
    assert str(raised.value) == sentence


def test_a_name_that_looks_like_a_switch_or_a_number_stays_a_name() -> None:
    assert [_config(senderName=name).quiet_hours.sender_name for name in ("true", "24")] == ["true", "24"]


@pytest.mark.parametrize(
    "change",
    [
        {"closures": STRICT.closures[:1]},
        {"closures": (replace(STRICT.closures[0], categories=frozenset({"informational"})), STRICT.closures[1])},
        {"name": "japan"},
        {"guard": timedelta(seconds=30)},
        {"skew": timedelta(seconds=1)},
        {"hours": Hours("22:30", "07:00")},
    ],
)
def test_a_policy_that_would_not_reach_the_functions_as_it_was_given_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="policy must be one that named_policy returns"):
        QuietHoursProps(policy=replace(STRICT, **change))


QUIET_HOURS = (
    "context policy {policy}, quietHoursStart {quietHoursStart}, quietHoursEnd {quietHoursEnd}, timezone {timezone}: "
)


@pytest.mark.parametrize(
    ("context", "sentence"),
    [
        ({"quietHoursStart": "25:00"}, "start must be HH:MM between 00:00 and 23:59, not '25:00'"),
        ({"quietHoursEnd": "8 am"}, "end must be HH:MM between 00:00 and 23:59, not '8 am'"),
        ({"quietHoursEnd": "21:00"}, "quiet hours must not start and end at the same time (21:00)"),
        ({"timezone": "Seoul"}, "timezone must be an IANA name such as Asia/Seoul, not 'Seoul'"),
        (
            {"policy": "japan"},
            "policy must be one of france, korea, strict, united-states, us-8-to-20, us-connecticut, us-kentucky, "
            "us-texas, not 'japan'",
        ),
        ({"kakaoClosed": "20:50"}, "kakao closed must be HH:MM-HH:MM or never, not '20:50'"),
        (
            {"policy": "united-states", "quietHoursEnd": "09:00"},
            "quietHoursStart and quietHoursEnd change nothing here: the policy's file has its own hours",
        ),
        (
            {"quietHoursStart": "00:00", "quietHoursEnd": "23:59"},
            "policy korea does not open within a week from {today}: KakaoTalk's hours (20:50 to 08:00 Asia/Seoul) and "
            "night (00:00 to 23:59 Asia/Seoul) follow each other without a gap",
        ),
    ],
)
def test_quiet_hours_that_cannot_be_are_refused_with_their_keys_and_the_fault(
    context: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ValueError) as raised:
        _config(**context)
    assert str(raised.value) == QUIET_HOURS.format(**DEFAULTS | context) + sentence.format(
        today=f"{datetime.now(UTC):%Y-%m-%d}"
    )


@pytest.mark.parametrize(
    "key", ["consumerConcurrency", "urgentConcurrency", "deliveryConcurrency", "releaseConcurrency"]
)
@pytest.mark.parametrize("value", ["1", "1001", "-2", "2.5", "two", "", 1, True])
def test_a_concurrency_that_an_event_source_would_refuse_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError) as raised:
        _config(**{key: value})
    assert str(raised.value).startswith(f"context {key} must be a whole number from 2 to 1000, not ")


@pytest.mark.parametrize("value", ["-1", "301", "0.5", "soon"])
def test_a_batching_window_out_of_range_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(batchingWindowSeconds=value)
    assert str(raised.value) == f"context batchingWindowSeconds must be a whole number from 0 to 300, not '{value}'"


@pytest.mark.parametrize("value", ["ops", "a@b, c@d", "@"])
def test_an_alert_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(alertEmail=value)
    assert str(raised.value) == f"context alertEmail must be one e-mail address or empty, not '{value}'"


@pytest.mark.parametrize("key", ["recordHeld", "advertisingLabel"])
def test_a_switch_of_cdk_json_must_be_there_and_be_one(key: str) -> None:
    assert _config(**{key: "true"}) == _config(**{key: True})
    with pytest.raises(ValueError) as raised:
        _config(**{key: "on"})
    assert str(raised.value) == f"context {key} must be true or false, not 'on'"
    app = App(context={name: value for name, value in DEFAULTS.items() if name != key})
    with pytest.raises(ValueError, match=f"context {key} is missing"):
        Config.from_context(app.node)


@pytest.mark.parametrize("value", ["", "EUC-KR", "utf-8"])
def test_an_encoding_of_sms_that_no_provider_has_is_refused(value: str) -> None:
    assert _config(smsEncoding="unicode").quiet_hours.sms_encoding == "unicode"
    with pytest.raises(ValueError) as raised:
        _config(smsEncoding=value)
    assert str(raised.value) == f"context smsEncoding must be euc-kr or unicode, not '{value}'"


@pytest.mark.parametrize("value", ["x" * 101, "two\nlines", " 온결"])
def test_a_senders_name_that_could_not_stand_in_a_text_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(senderName=value)
    assert str(raised.value).startswith("context senderName must be empty or a name of up to 100 characters, not ")


@pytest.mark.parametrize("value", ["wiki", "http://wiki.example.com", "https://wiki.example.com/a b", "https://a#b"])
def test_a_runbook_that_is_no_link_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(runbookUrl=value)
    assert str(raised.value) == (
        f"context runbookUrl must be one https:// URL without a fragment or empty, not '{value}'"
    )


@pytest.mark.parametrize("value", ["123456789012", "1234/ap-northeast-2", "123456789012/Seoul", "/", "ap-northeast-2"])
def test_an_env_that_is_no_account_and_region_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(env=value)
    assert str(raised.value) == (
        f"context env must be ACCOUNT/REGION such as 123456789012/ap-northeast-2 or empty, not '{value}'"
    )


@pytest.mark.parametrize(
    "value", ["team", "=shop", "aws:team=shop", "team=shop,", "team=a;b", "a=1,,b=2", f"{129 * 't'}="]
)
def test_tags_that_aws_would_refuse_are_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(tags=value)
    assert str(raised.value) == (
        f"context tags must be NAME=VALUE,NAME=VALUE or empty, and no name may begin with aws:, not '{value}'"
    )


@pytest.mark.parametrize("value", ["a=1,a=2", "a=1,b=2,a=1"])
def test_a_tag_that_is_given_twice_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(tags=value)
    assert str(raised.value) == f"context tags must name each tag once, not '{value}'"


@pytest.mark.parametrize("value", ["", "1shop", "quiet_hours", "Quiet Hours", "x" * 129])
def test_a_stack_name_that_cloudformation_would_refuse_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(stackName=value)
    assert str(raised.value) == (
        f"context stackName must be letters, digits and hyphens, a letter first, at most 128, not '{value}'"
    )


@pytest.mark.parametrize("value", ["on", "1", ""])
def test_a_termination_protection_that_is_no_switch_is_refused(value: str) -> None:
    with pytest.raises(ValueError) as raised:
        _config(terminationProtection=value)
    assert str(raised.value) == f"context terminationProtection must be true or false, not '{value}'"


def test_the_context_says_where_the_stack_goes_and_how_it_is_marked_and_kept() -> None:
    stack = make_stack(
        stackName="Shop-Staging",
        env="123456789012/ap-northeast-2",
        tags="team=shop,cost centre=a=b",
        terminationProtection="true",
    )
    made = App.of(stack).synth().get_stack_by_name("Shop-Staging")
    assert (made.environment.account, made.environment.region) == ("123456789012", "ap-northeast-2")
    assert made.tags == {"team": "shop", "cost centre": "a=b"}
    assert made.termination_protection is True


def test_a_stack_goes_to_the_environments_account_and_can_be_deleted_unless_told() -> None:
    made = App.of(make_stack()).synth().get_stack_by_name("QuietHours")
    assert (made.environment.account, made.environment.region) == ("unknown-account", "unknown-region")
    assert made.tags == {}
    assert not made.termination_protection


def test_a_key_that_is_missing_is_named() -> None:
    app = App(context={key: value for key, value in DEFAULTS.items() if key != "timezone"})
    with pytest.raises(ValueError) as raised:
        Config.from_context(app.node)
    assert str(raised.value) == "context timezone is missing: cdk.json carries its default"


def test_a_switch_is_on_or_off_and_nothing_else() -> None:
    node = App(context={"yes": "true", "no": "false", "on": True, "off": False, "perhaps": "1"}).node
    assert [flag(node, key) for key in ("yes", "no", "on", "off", "missing")] == [True, False, True, False, False]
    with pytest.raises(ValueError) as raised:
        flag(node, "perhaps")
    assert str(raised.value) == "context perhaps must be true or false, not '1'"


def test_the_app_ends_with_that_sentence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_cdk, "App", lambda: App(context=DEFAULTS | {"releaseConcurrency": "0"}))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "app.py"))
    assert ended.value.code == "context releaseConcurrency must be a whole number from 2 to 1000, not '0'"


def test_cdk_nag_stops_the_app_at_a_finding_that_nobody_has_acknowledged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Careless(Stack):
        def __init__(self, scope: App, id_: str, config: Config) -> None:
            super().__init__(scope, id_)
            Queue(self, "WithoutTls")

    monkeypatch.setattr(aws_cdk, "App", lambda: App(context=CONTEXT | {"nag": "true"}, outdir=str(tmp_path)))
    monkeypatch.setattr(pipeline_stack, "PipelineStack", Careless)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        runpy.run_path(str(ROOT / "app.py"))
    assert "AwsSolutions-SQS4" in (tmp_path / "validation-report.json").read_text()


BY_MAKE_CHECK_TOO = pytest.param("", marks=pytest.mark.slow)


@pytest.mark.parametrize("env_", [BY_MAKE_CHECK_TOO, "123456789012/ap-northeast-2"])
def test_the_app_synthesises_without_credentials_or_docker_and_cdk_nag_finds_nothing(tmp_path: Path, env_: str) -> None:
    env = {
        "PATH": str(Path(sys.executable).parent),  # Node is there; Docker is not
        "HOME": os.environ["HOME"],
        "CDK_CONTEXT_JSON": json.dumps(
            CONTEXT
            | {"nag": "true", "env": env_, "senderName": "온결", "advertisingConsent": "required"}
            | {"accountConcurrency": "11"}
        ),
        "CDK_OUTDIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=env, check=True)
    assert (tmp_path / "QuietHours.template.json").exists()
    assert json.loads((tmp_path / "validation-report.json").read_text())["pluginReports"] == []
