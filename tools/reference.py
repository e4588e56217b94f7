"""`make reference`: runs the tests that docs/reference.md names, and says row by row what passed.

python -m tools.reference
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from local import BUILD, ROOT

PAGE = ROOT / "docs" / "reference.md"
REPORT = BUILD / "reference.xml"


def rows(page: str) -> dict[str, list[str]]:
    """Return the tests that each row of the page names, as pytest takes them."""
    found = {}
    for line in page.splitlines():
        if row := re.match(r"\| (R\d+) \|", line):
            tests = line.strip("|").split("|")[-1]
            found[row[1]] = re.findall(r"`(tests/[\w/]+\.py::\w+)`", tests)
    return found


def outcomes(report: str) -> dict[str, list[bool]]:
    """Return whether each run of each test of a JUnit report passed. What was skipped did not."""
    found: dict[str, list[bool]] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):  # noqa: S314 (pytest has just written it)
        # A group of pytest-xdist stands behind the name: test_name[parameters]@group.
        name = re.split(r"[\[@]", case.attrib["name"])[0]
        path = case.attrib["classname"].replace(".", "/") + ".py"
        passed = not any(case.find(kind) is not None for kind in ("failure", "error", "skipped"))
        found.setdefault(f"{path}::{name}", []).append(passed)
    return found


def summary(named: Mapping[str, Sequence[str]], ran: Mapping[str, Sequence[bool]]) -> tuple[list[str], bool]:
    """Return a line for each row, and True if each row names a test and all of its tests ran and passed."""
    lines, good = [], True
    for row, tests in named.items():
        faults = [
            f"{test}: {'did not pass' if test in ran else 'did not run'}"
            for test in tests
            if not all(ran.get(test, [False]))
        ]
        if not tests:
            faults = ["no test is named"]
        good = good and not faults
        lines.append(f"{row:4} {'; '.join(faults) or f'{len(tests)} passed'}")
    return lines, good


def main() -> int:
    """Run the tests; return 0 if every row of the page is shown."""
    named = rows(PAGE.read_text(encoding="utf-8"))
    tests = list(dict.fromkeys(test for each in named.values() for test in each))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.unlink(missing_ok=True)
    options = ["-n", "2", "--dist", "loadgroup", "-q", f"--junit-xml={REPORT}"]
    subprocess.run([sys.executable, "-m", "pytest", *options, *tests], cwd=ROOT, check=False)
    lines, good = summary(named, outcomes(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {})
    print("", *lines, sep="\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
