"""Each command of operators explains itself, and so does each of its arguments."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from operators import channels, consents, redrive, restore

COMMANDS: dict[str, tuple[ModuleType, list[str], list[str]]] = {
    "redrive": (redrive, [], ["dead-letter", "RESEND_UNKNOWN=1", "EXPIRED=drop", "OUTPUTS="]),
    "channels": (channels, [], ["set", "OUTPUTS="]),
    "channels set": (channels, ["set"], ["channel", "NAME=VALUE", "--file PATH", "--yes"]),
    "consents": (consents, [], ["import", "export", "due", "OUTPUTS="]),
    "consents import": (consents, ["import"], ["file", "--check", "--from-line LINE"]),
    "consents export": (consents, ["export"], ["file"]),
    "consents due": (consents, ["due"], ["--before DATE"]),
    "restore": (restore, [], ["consents", "ledger", "OUTPUTS="]),
    "restore consents": (restore, ["consents"], ["--since TIME", "--from TABLE"]),
    "restore ledger": (restore, ["ledger"], ["--from TABLE", "--delivered FILE"]),
}


@pytest.mark.parametrize(("module", "arguments", "names"), COMMANDS.values(), ids=COMMANDS)
def test_help_explains_the_command_and_each_argument(
    module: ModuleType,
    arguments: list[str],
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *arguments, "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(module, "target", lambda: pytest.fail("help needs no deployment"))
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in names:
        assert name in shown
    explained = re.findall(r"^ {2}(?:-h, --help|--[a-z-]+(?: [A-Z]+)?|file)(.*)$", shown, re.MULTILINE)
    assert explained and all(text.strip() for text in explained), shown


def test_redrive_takes_no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["redrive", "now"])
    monkeypatch.setattr(redrive, "target", lambda: pytest.fail("nothing is redriven"))
    with pytest.raises(SystemExit) as ended:
        redrive.main()
    assert ended.value.code == 2
