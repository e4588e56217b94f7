"""`make channels-set`: one channel's part of the secret is changed, checked and shown, and nothing else."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import CommandError
from operators import channels
from operators.channels import SETTINGS, changed, differences, fault_of, masked, read_changes, set_channel
from operators.target import Target
from tests.helpers.aws import REGION, aws, sqs

__all__ = ["sqs"]

NAME = "QuietHours/channels"
CANARY = "hunter2-hunter2-hunter2"
SOLAPI = {"provider": "solapi", "api_key": CANARY, "api_secret": CANARY, "from": "0212345678"}
WEBHOOK = {"url": "https://hooks.example.com/notify", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
SECRET = {"sms": SOLAPI, "webhook": WEBHOOK, "from an older version": 7}


@pytest.fixture
def secrets(sqs: Any) -> Any:
    client = aws("secretsmanager")
    client.create_secret(Name=NAME, SecretString=json.dumps(SECRET))
    return client


def stored(secrets: Any) -> Any:
    return json.loads(secrets.get_secret_value(SecretId=NAME)["SecretString"])


def put(secrets: Any, channel: str, confirmed: bool = True, **changes: str) -> None:
    set_channel(secrets, NAME, channel, {name.rstrip("_"): value for name, value in changes.items()}, False, confirmed)


def test_one_setting_changes_and_everything_else_stays(secrets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(secrets, "sms", from_="0298765432", rate_per_s="50")
    assert stored(secrets) == SECRET | {"sms": SOLAPI | {"from": "0298765432", "rate_per_s": 50}}
    shown = capsys.readouterr().out
    assert "sms.from: 10 characters -> 10 characters" in shown
    assert "sms.rate_per_s: new: 50" in shown
    assert CANARY not in shown and "0298765432" not in shown and "api_key" not in shown


def test_a_first_channel_comes_into_an_empty_secret(secrets: Any) -> None:
    secrets.put_secret_value(SecretId=NAME, SecretString="{}")
    put(secrets, "email", from_="Shop <shop@example.com>")
    assert stored(secrets) == {"email": {"from": "Shop <shop@example.com>"}}


def test_a_check_of_aws_s_own_channels_calls_nobody(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's region is the deployment's, even where the operator's environment names none."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr("botocore.endpoint.Endpoint.make_request", lambda *_: pytest.fail("a call"))
    for channel, part in {"push": {}, "sms": {"provider": "aws", "from": "0212345678"}}.items():
        assert fault_of(channel, part, local=False, region=REGION) is None


def test_an_empty_value_removes_a_setting(secrets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(secrets, "webhook", secret="")
    assert stored(secrets)["webhook"] == {"url": WEBHOOK["url"]}
    assert "webhook.secret: 38 characters, ending in Sw -> removed" in capsys.readouterr().out


def test_webhooks_of_slack_are_an_object(secrets: Any) -> None:
    hooks = {"#orders": "https://hooks.slack.com/services/T0/B0/x"}
    put(secrets, "slack", webhooks=json.dumps(hooks))
    assert stored(secrets)["slack"] == {"webhooks": hooks}


def test_without_changes_it_shows_what_there_is(secrets: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(secrets, "sms", confirmed=False)
    shown = capsys.readouterr().out
    assert "nothing changes" in shown and 'sms.provider: "solapi"' in shown and CANARY not in shown
    assert stored(secrets) == SECRET


REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "no channel": ("fax", {"number": "1"}, "CHANNEL= must be one of kakao, sms, "),
    "a name with a typing error": ("sms", {"form": "02"}, "sms has no setting form; it has provider, from, "),
    "a setting of another channel": ("webhook", {"token": "x"}, "webhook has no setting token"),
    "a provider that does not exist": ("sms", {"provider": "fax"}, 'sms.provider must be "solapi" or "aws"'),
    "what must be set is removed": ("sms", {"api_secret": ""}, "sms.api_secret must be set"),
    "a channel that is not complete": ("kakao", {"api_key": CANARY}, "kakao.api_secret must be set"),
    "a rate that is no number": ("sms", {"rate_per_s": "fast"}, "sms.rate_per_s must be a number"),
    "a rate of nothing": ("sms", {"rate_per_s": "0"}, "sms.rate_per_s must be a number above 0"),
    "a rule that does not exist": ("sms", {"unknown_outcome": "maybe"}, "sms.unknown_outcome must be"),
    "a URL without TLS": ("webhook", {"url": f"http://{CANARY}.example.com"}, "webhook.url"),
    "a URL on this machine": ("webhook", {"url": "https://127.0.0.1/"}, "webhook.url"),
    "a stand-in on an account": ("sms", {"endpoint_url": "http://127.0.0.1:80"}, "sms.endpoint_url is for local use"),
    "text that no header takes": ("sms", {"api_key": f"{CANARY} 비밀"}, "sms.api_key must be text of visible ASCII"),
    "a region that is none": (
        "email",
        {"from": "a@example.com", "region": CANARY},
        "email.region must be an AWS region",
    ),
    "webhooks that are no object": ("slack", {"webhooks": CANARY}, "slack.webhooks must be a JSON object"),
    "alerts to another host": ("alerts", {"slack_url": f"https://example.com/{CANARY}"}, "alerts.slack_url"),
    "an address that reads as a number and is none": (
        "recipients",
        {"addresses": "kim@example.com, 010-1234-567"},
        "recipients.addresses: number 2 reads as a phone number",
    ),
    "an address with a name of a domain that cannot be": (
        "recipients",
        {"addresses": f'["{CANARY}@localhost@"]'},
        "recipients.addresses: number 1 reads as an e-mail address",
    ),
    "a list of something else": ("recipients", {"addresses": '[{"sms": 1}]'}, "recipients.addresses must be a list"),
    "a list that is not closed": (
        "recipients",
        {"addresses": f'["{CANARY}"'},
        "recipients.addresses must be addresses with commas",
    ),
    "more than testers": (
        "recipients",
        {"addresses": ",".join(f"user-{n}" for n in range(101))},
        "recipients.addresses has 101 addresses, and may have 100",
    ),
    "alerts without their URL": ("alerts", {"slack_url": "x y"}, "alerts.slack_url must be text"),
}


@pytest.mark.parametrize(("channel", "changes", "says"), REFUSED.values(), ids=REFUSED)
def test_what_the_channel_would_refuse_is_not_written(
    secrets: Any, channel: str, changes: dict[str, str], says: str
) -> None:
    with pytest.raises(CommandError, match=re.escape(says)) as refused:
        set_channel(secrets, NAME, channel, changes, local=False, confirmed=True)
    assert CANARY not in str(refused.value)
    assert stored(secrets) == SECRET


def test_alerts_are_a_part_like_others(secrets: Any) -> None:
    url = "https://hooks.slack.com/services/T0/B0/x"
    put(secrets, "alerts", slack_url=url)
    assert stored(secrets) == SECRET | {"alerts": {"slack_url": url}}


def test_the_allow_list_is_a_part_like_others_and_is_not_shown(
    secrets: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    put(secrets, "recipients", addresses="010-9999-1234, canary@example.com,")
    assert stored(secrets) == SECRET | {"recipients": {"addresses": ["010-9999-1234", "canary@example.com"]}}
    put(secrets, "recipients", addresses='["canary,with-a-comma"]')
    assert stored(secrets)["recipients"] == {"addresses": ["canary,with-a-comma"]}
    put(secrets, "recipients", addresses="")
    assert stored(secrets)["recipients"] == {}
    shown = capsys.readouterr().out
    assert "recipients.addresses: new: 2 addresses" in shown
    assert "recipients.addresses: 2 addresses -> 1 address" in shown
    assert "1 address -> removed" in shown
    assert "canary" not in shown and "9999" not in shown


def test_a_stand_in_is_for_local_use(secrets: Any) -> None:
    set_channel(secrets, NAME, "sms", {"endpoint_url": "http://127.0.0.1:8080"}, local=True, confirmed=True)
    assert stored(secrets)["sms"]["endpoint_url"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize("broken", ["", "no JSON", "[]", '"text"'])
def test_a_secret_that_is_no_object_is_left_alone(secrets: Any, broken: str) -> None:
    secrets.put_secret_value(SecretId=NAME, SecretString=broken or " ")
    with pytest.raises(CommandError, match=r"is not a JSON object.*AWSPREVIOUS"):
        put(secrets, "sms", rate_per_s="5")
    assert secrets.get_secret_value(SecretId=NAME)["SecretString"] == (broken or " ")


def test_a_secret_that_does_not_exist_is_one_sentence(secrets: Any) -> None:
    with pytest.raises(CommandError, match=r"cannot be read \(ResourceNotFoundException\)"):
        set_channel(secrets, "another", "sms", {}, local=False, confirmed=True)


# --- asking


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", answer)


@pytest.mark.parametrize(("answer", "written"), [("y", True), ("Yes", True), ("n", False), ("", False)])
def test_it_asks_before_it_writes(secrets: Any, monkeypatch: pytest.MonkeyPatch, answer: str, written: bool) -> None:
    at_a_terminal(monkeypatch, lambda text: answer)
    if written:
        put(secrets, "sms", confirmed=False, rate_per_s="5")
    else:
        with pytest.raises(CommandError, match="Nothing is written"):
            put(secrets, "sms", confirmed=False, rate_per_s="5")
    assert ("rate_per_s" in stored(secrets)["sms"]) is written


def test_where_nobody_can_be_asked_nothing_is_written(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="YES=1"):
        put(secrets, "sms", confirmed=False, rate_per_s="5")
    assert stored(secrets) == SECRET


def test_a_change_by_somebody_else_meanwhile_is_not_overwritten(secrets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = SECRET | {"push": {}}

    def answer(text: str) -> str:
        secrets.put_secret_value(SecretId=NAME, SecretString=json.dumps(theirs))
        return "y"

    at_a_terminal(monkeypatch, answer)
    with pytest.raises(CommandError, match="somebody else has changed the secret"):
        put(secrets, "sms", confirmed=False, rate_per_s="5")
    assert stored(secrets) == theirs


# --- what is given


def test_a_file_has_a_setting_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "sms.txt"
    path.write_text("\ufeff# Solapi\nprovider = solapi\n\napi_secret=a=b==\nregion=\n", "utf-8")
    assert read_changes(["from=02"], str(path)) == {
        "provider": "solapi",
        "api_secret": "a=b==",
        "region": "",
        "from": "02",
    }


def test_a_file_may_be_a_json_object(tmp_path: Path) -> None:
    path = tmp_path / "sms.json"
    path.write_text('{"api_key": "123", "rate_per_s": 50, "region": null, "webhooks": {"#a": "b"}}')
    assert read_changes([], str(path)) == {
        "api_key": "123",
        "rate_per_s": "50",
        "region": "",
        "webhooks": '{"#a": "b"}',
    }


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("api_secret=x\n"))
    assert read_changes([], "-") == {"api_secret": "x"}


@pytest.mark.parametrize("text", ["no equals sign", "=value", "two words=x", '{"api_key": ', "\xff"])
def test_a_file_that_is_not_understood_shows_nothing_of_itself(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sms.txt"
    path.write_bytes(text.encode("latin-1") + b" " + CANARY.encode())
    with pytest.raises(CommandError) as refused:
        read_changes([], str(path))
    assert CANARY not in str(refused.value)


def test_a_file_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(CommandError, match="No such file"):
        read_changes([], "nowhere.txt")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("rate_per_s", 50, "50"),
        ("provider", "solapi", '"solapi"'),
        ("api_key", "short", "5 characters"),
        ("api_key", "x" * 30 + "yz", "32 characters, ending in yz"),
        ("webhooks", {"#a": CANARY}, "1 entries"),
    ],
)
def test_values_are_masked(name: str, value: Any, shown: str) -> None:
    assert masked(name, value) == shown


def test_what_an_older_version_stored_is_kept_and_shown_masked() -> None:
    part = SOLAPI | {"legacy": CANARY}
    after = changed("sms", part, {"rate_per_s": "5"}, local=False, region=REGION)
    assert after == part | {"rate_per_s": 5}
    assert differences("sms", part, after) == ["  sms.rate_per_s: new: 5"]


def test_a_part_that_is_no_object_is_replaced() -> None:
    assert changed("webhook", "https://old", {"url": WEBHOOK["url"]}, local=False, region=REGION) == {
        "url": WEBHOOK["url"]
    }


def test_the_settings_are_those_of_the_documentation() -> None:
    """docs/channels.md has each in its table, or in the text below it."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "channels.md").read_text()
    for channel, names in SETTINGS.items():
        if channel not in ("alerts", "recipients"):
            assert f"| `{channel}` |" in text
            assert all(f"`{name}`" in text for name in names), channel
    table = text.partition("| channel | goes by |")[2].partition("\n\n")[0]
    documented = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|", table, re.MULTILINE)
    assert {channel for channel, *_ in documented} == SETTINGS.keys() - {"alerts", "recipients"} | {"log"}
    for channel, *cells in documented:
        documented_names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} - {"solapi", "aws"}
        assert documented_names <= set(SETTINGS.get(channel, ())), channel


def test_the_command_works_on_the_deployment_of_the_environment(
    secrets: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(channels, "target", lambda: Target(aws, {"ChannelSecretName": NAME}))
    monkeypatch.setenv("OUTPUTS", "deployed.json")
    monkeypatch.setenv("SET", "from=0298765432 'configuration_set=two words'")
    monkeypatch.setattr(sys, "argv", ["channels", "set", "sms", "--yes"])
    channels.main()
    assert stored(secrets)["sms"]["from"] == "0298765432"
    assert "within a minute" in capsys.readouterr().out
