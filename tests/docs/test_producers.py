"""docs/producers.md shows the examples as they are, and each is as short as the page promises."""

from __future__ import annotations

import ast
import re

import pytest

from tests.docs.pages import PAGES, ROOT

PAGE = PAGES["docs/producers.md"]
FOLDER = ROOT / "examples" / "producers"
PYTHON = sorted(path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py")
STATEMENTS_MAX = 5


@pytest.mark.parametrize("name", [*PYTHON, "javascript/shop.js"])
def test_the_page_shows_the_example_as_it_is(name: str) -> None:
    (section,) = (each for each in PAGE.split("\n## ") if f"(../examples/producers/{name})" in each)
    (shown,) = re.findall(r"```(?:python|js)\n(.*?)```", section, re.DOTALL)
    assert (FOLDER / name).read_text(encoding="utf-8").endswith(shown)


@pytest.mark.parametrize("name", PYTHON)
def test_asking_for_a_notification_takes_five_statements_at_most(name: str) -> None:
    (function,) = (
        each
        for each in ast.parse((FOLDER / name).read_text(encoding="utf-8")).body
        if isinstance(each, ast.FunctionDef)
    )
    _docstring, *statements = function.body
    assert 1 <= len(statements) <= STATEMENTS_MAX


def test_asking_for_a_notification_in_javascript_takes_five_statements_at_most() -> None:
    _, _, function = (FOLDER / "javascript" / "shop.js").read_text(encoding="utf-8").partition("export async function")
    assert 1 <= len(re.findall(r"^  \S.*;$|^  \};$", function, re.MULTILINE)) <= STATEMENTS_MAX
