"""docs/reference.md has every row of the reference systems, and each names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT
from tools.reference import outcomes, rows, summary

PAGE = PAGES["docs/reference.md"]
NAMED = rows(PAGE)


@cache
def functions_of(file: Path) -> frozenset[str]:
    """The test functions of a file that `make test` runs: those that no decorator marks slow or skips."""
    nodes = ast.parse(file.read_text(encoding="utf-8")).body
    return frozenset(
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and not any(re.search(r"mark\.(slow|skip)", ast.unparse(decorator)) for decorator in node.decorator_list)
    )


def test_the_page_has_every_row_once_and_in_order() -> None:
    found = re.findall(r"^\| (R\d+) \|", PAGE, re.MULTILINE)

    assert found == [f"R{number}" for number in range(1, 29)]


def test_every_row_says_what_how_where_and_by_which_test() -> None:
    for line in re.findall(r"^\| R\d+ \|.*$", PAGE, re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 5, line
        assert all(cells), line


@pytest.mark.parametrize("row", NAMED)
def test_every_row_names_tests_that_exist(row: str) -> None:
    assert NAMED[row]
    for test in NAMED[row]:
        path, name = test.split("::")
        assert name in functions_of(ROOT / path), test


def test_a_row_that_a_test_names_exists() -> None:
    for file in (ROOT / "tests").rglob("test_*.py"):
        for name in functions_of(file):
            for number in re.findall(r"(?:^test|_)_r(\d+)(?=_)", name):
                assert f"R{number}" in NAMED, name


def report(*cases: str) -> str:
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def case(name: str, inside: str = "") -> str:
    return f'<testcase classname="tests.unit.test_a" name="{name}">{inside}</testcase>'


def test_a_test_that_ran_several_times_passed_if_all_of_them_passed() -> None:
    ran = outcomes(report(case("test_x[1]@group"), case("test_x[2]@group", "<failure/>"), case("test_y")))

    assert ran == {"tests/unit/test_a.py::test_x": [True, False], "tests/unit/test_a.py::test_y": [True]}


@pytest.mark.parametrize(
    ("cases", "line", "good"),
    [
        ([case("test_x")], "R1   1 passed", True),
        ([case("test_x", "<failure/>")], "R1   tests/unit/test_a.py::test_x: did not pass", False),
        ([case("test_x", "<error/>")], "R1   tests/unit/test_a.py::test_x: did not pass", False),
        ([case("test_x", "<skipped/>")], "R1   tests/unit/test_a.py::test_x: did not pass", False),
        ([case("test_other")], "R1   tests/unit/test_a.py::test_x: did not run", False),
        ([], "R1   tests/unit/test_a.py::test_x: did not run", False),
    ],
)
def test_a_row_is_shown_only_if_its_tests_ran_and_passed(cases: list[str], line: str, good: bool) -> None:
    assert summary({"R1": ["tests/unit/test_a.py::test_x"]}, outcomes(report(*cases))) == ([line], good)


def test_a_row_without_a_test_is_not_shown() -> None:
    assert summary({"R8": []}, {}) == (["R8   no test is named"], False)
