"""The rooms of the house: which part of the code may import which. docs/decisions/0008-rooms.md gives the reasons.

Imports are read from the source, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

MAY_IMPORT: dict[str, set[str]] = {
    # Inside the functions' asset, from the ground up.
    "errors": set(),
    "timings": set(),
    "side_by_side": set(),
    "rule": set(),
    "settings": {"rule", "timings"},
    "notification": {"errors", "rule", "settings"},
    "files": {"errors", "notification"},
    "consents": {"errors", "timings", "rule", "notification"},
    "stores": {"errors", "rule", "notification", "consents"},
    "channels": {"errors", "timings", "notification"},
    "redaction": {"errors", "stores"},
    "alerts": {"channels"},
    "delivery": {
        *("errors", "timings", "side_by_side", "rule", "settings", "notification", "consents", "stores", "channels"),
    },
    "api": {"errors", "rule", "settings", "notification", "consents", "stores"},
    "handlers": {
        *("errors", "timings", "side_by_side", "rule", "settings", "notification", "files", "consents", "stores"),
        *("channels", "redaction", "alerts", "delivery", "api"),
    },
    # Around it.
    "infra": {"timings", "rule", "settings", "notification", "stores"},
    "app": {"infra"},
    "examples": {"infra"},
    "local": {"settings"},
    "fakes": {"local"},
    "operators": {"errors", "side_by_side", "notification", "files", "consents", "stores", "settings", "local"},
    "demo": {"local", "fakes"},
}
"""Each room, and the rooms that it may import. A room may always import itself.

Tools, simulation and benchmarks look at the whole from outside: they may import anything but the tests.
"""

OUTSIDE = ("tools", "simulation", "benchmarks")
ROOMS = (*MAY_IMPORT, *OUTSIDE)
PACKAGES = ("lambdas", "infra", "local", "fakes", "operators", "demo", "examples", *OUTSIDE)

Arrows = Mapping[str, frozenset[str]]


def room_of(module: str) -> str:
    """The room that a module stands in."""
    parts = module.split(".")
    if parts[0] != "lambdas":
        return parts[0]
    if parts[1:2] != ["quiet_hours"]:
        return "handlers"
    return parts[2] if len(parts) > 2 else "errors"  # the package itself holds nothing: it stands on the ground


@cache
def modules() -> dict[str, Path]:
    """Every module of ours but the tests, with its file."""
    files = [ROOT / "app.py", *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))]
    return {_name(file): file for file in sorted(files)}


def _name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def arrows() -> Arrows:
    """Return the modules of ours, and of the tests, that each module imports."""
    return {module: frozenset(_imported(module, file)) - {module} for module, file in modules().items()}


def _imported(module: str, file: Path) -> Iterator[str]:
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` is an arrow to the module, not to the package.
            names = [
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source for alias in node.names
            ]
        else:
            continue
        yield from (name for name in names if name in modules() or name.split(".")[0] == "tests")


def forbidden(found: Arrows) -> list[str]:
    """The arrows that the rooms do not allow."""
    return [
        f"{module} imports {target}"
        for module, targets in found.items()
        for target in sorted(targets)
        if not _is_allowed(room_of(module), room_of(target))
    ]


def _is_allowed(room: str, target: str) -> bool:
    if target == "tests":
        return False
    return room in OUTSIDE or target == room or target in MAY_IMPORT[room]


def circles(found: Arrows) -> list[str]:
    """Modules that reach themselves by their imports."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            new = found.get(waiting.pop(), frozenset()) - seen
            seen |= new
            waiting += new
        return seen

    return sorted(module for module in found if module in reached(module))


def test_every_module_stands_in_a_room() -> None:
    assert {room_of(module) for module in modules()} - {"examples"} == set(ROOMS) - {"examples"}


def test_every_import_goes_the_way_that_the_rooms_allow() -> None:
    assert forbidden(arrows()) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles(arrows()) == []


def test_no_handler_imports_another() -> None:
    handlers = {module for module in modules() if room_of(module) == "handlers" and module != "lambdas"}
    assert {module: arrows()[module] & handlers for module in handlers if arrows()[module] & handlers} == {}


def test_what_a_room_may_import_may_not_import_it_back() -> None:
    for room, target in product(MAY_IMPORT, repeat=2):
        assert not (target in MAY_IMPORT[room] and room in MAY_IMPORT[target])


FORBIDDEN = sorted(
    (room, target)
    for room, target in product(MAY_IMPORT, (*ROOMS, "tests"))
    if target != room and target not in MAY_IMPORT[room]
)


@pytest.mark.parametrize(("room", "target"), FORBIDDEN)
def test_a_forbidden_import_is_seen(room: str, target: str) -> None:
    """Each forbidden arrow, drawn once from a module that exists."""
    module = next(each for each in [*modules(), room] if room_of(each) == room)
    other = next(each for each in [*modules(), target] if room_of(each) == target)
    assert forbidden({**arrows(), module: arrows().get(module, frozenset()) | {other}}) == [f"{module} imports {other}"]


def test_a_circle_is_seen() -> None:
    assert circles({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}) == [
        *("a", "b", "c"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        *("import local.server", "from local import server", "from local.server import start"),
        *("if TYPE_CHECKING:\n    from local import server", "def f():\n    from local import server"),
    ],
)
def test_an_import_is_read_however_it_is_written(line: str, tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text(f"from typing import TYPE_CHECKING\n{line}\n")
    assert set(_imported("lambdas.worker", file)) == {"local.server"}


def test_a_relative_import_is_read(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text("from . import pacing\nfrom ..stores.ledger import Ledger\n")
    assert set(_imported("lambdas.quiet_hours.delivery.delivery", file)) == {
        "lambdas.quiet_hours.delivery.pacing",
        "lambdas.quiet_hours.stores.ledger",
    }
