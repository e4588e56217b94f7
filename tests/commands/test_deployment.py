"""Finding a deployment in the outputs file of the CDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import CommandError
from commands.deployment import read_outputs
from operators import target

ONE = {"NotificationQueueUrl": "https://sqs/one", "LedgerTableName": "one"}
TWO = {"NotificationQueueUrl": "https://sqs/two", "LedgerTableName": "two"}
BRANDS = {f"Shoes{name}": value for name, value in ONE.items()} | {f"Hats{name}": value for name, value in TWO.items()}


@pytest.fixture
def outputs(tmp_path: Path) -> Any:
    def write(**stacks: dict[str, str]) -> Path:
        path = tmp_path / "outputs.json"
        path.write_text(json.dumps(stacks))
        return path

    return write


def test_the_only_deployment_of_a_file_needs_no_name(outputs: Any) -> None:
    assert read_outputs(outputs(Network={"VpcId": "vpc-1"}, QuietHours=ONE)) == ONE


def test_one_of_two_stacks_is_chosen_by_its_name(outputs: Any) -> None:
    path = outputs(Staging=ONE, Production=TWO)
    assert (read_outputs(path, "Staging"), read_outputs(path, "Production")) == (ONE, TWO)


def test_one_of_two_deployments_in_a_stack_is_chosen_by_the_prefix_of_its_outputs(outputs: Any) -> None:
    path = outputs(Shop=BRANDS)
    assert (read_outputs(path, "Shop/Shoes"), read_outputs(path, "Shop/Hats")) == (ONE, TWO)


@pytest.mark.parametrize(
    ("stacks", "deployment", "text"),
    [
        ({"Staging": ONE, "Production": TWO}, "", "holds those of 2: Staging, Production. Choose one with DEPLOYMENT="),
        ({"Shop": BRANDS}, "", "holds those of 2: Shop/Shoes, Shop/Hats. Choose one with DEPLOYMENT="),
        ({"Network": {"VpcId": "vpc-1"}}, "", "holds those of 0."),
        ({"Shop": BRANDS}, "Shop", "has no deployment Shop; it has: Shop/Shoes, Shop/Hats."),
        ({}, "Shop", "has no deployment Shop; it has: none."),
    ],
)
def test_an_unclear_choice_names_the_deployments_of_the_file(
    outputs: Any, stacks: dict[str, dict[str, str]], deployment: str, text: str
) -> None:
    with pytest.raises(CommandError) as raised:
        read_outputs(outputs(**stacks), deployment)
    assert text in str(raised.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        read_outputs(tmp_path / "outputs.json")


def test_a_command_works_on_the_deployment_that_the_environment_names(
    outputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUTS", str(outputs(Staging=ONE, Production=TWO)))
    monkeypatch.setenv("DEPLOYMENT", "Production")
    assert target.target().outputs == TWO
