"""The rooms of the house: which part of the code may import which. docs/decisions/0008-rooms.md gives the reasons.

Imports are read from the source, those inside functions and under TYPE_CHECKING included.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
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
    "files": {"errors", "rule", "settings", "notification"},
    "consents": {"errors", "timings", "rule", "notification"},
    "stores": {"errors", "side_by_side", "rule", "settings", "notification", "files", "consents"},
    "channels": {"errors", "timings", "notification"},
    "redaction": {"errors", "stores"},
    "sources": {"errors", "settings", "notification"},
    "alerts": set(),
    "delivery": {
        *("errors", "side_by_side", "rule", "settings", "notification", "consents", "stores", "channels"),
    },
    "api": {"errors", "rule", "settings", "notification", "consents", "stores"},
    "handlers": {
        *("errors", "timings", "side_by_side", "rule", "settings", "notification", "files", "consents", "stores"),
        *("channels", "redaction", "alerts", "delivery", "api", "sources"),
    },
    # Around it.
    "infra": {"timings", "rule", "settings", "notification", "stores", "sources"},
    "app": {"infra"},
    "examples": {"infra"},
    "commands": {"settings"},
    "local": {"settings", "commands"},
    "fakes": {"local"},
    "operators": {
        *("errors", "settings", "side_by_side", "notification", "files", "consents", "stores", "channels"),
        *("commands", "local"),
    },
    "demo": {"commands", "local", "fakes"},
}
"""Each room, and the rooms that it may import. A room may always import itself.

Tools, simulation and benchmarks look at the whole from outside: they may import anything but the tests.
"""

OUTSIDE = ("tools", "simulation", "benchmarks")
ROOMS = (*MAY_IMPORT, *OUTSIDE)
PACKAGES = ("lambdas", "infra", "commands", "local", "fakes", "operators", "demo", "examples", *OUTSIDE)

Arrows = Mapping[str, frozenset[str]]


@cache
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
    return {module: arrows_of(module, tree(module)) for module in modules()}


@cache
def tree(module: str) -> ast.Module:
    """The source of a module, parsed."""
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def arrows_of(module: str, source: ast.Module) -> frozenset[str]:
    """Find the imports of ours and of the tests in a source, if it is that module's."""
    names = imported(module, source)
    return frozenset(name for name in names if name in modules() or name.split(".")[0] == "tests") - {module}


def imported(module: str, source: ast.Module) -> Iterator[str]:
    """The names of everything that a source imports, of ours and of others."""
    is_package = module in modules() and modules()[module].name == "__init__.py"
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` is an arrow to the module, not to the package.
            names = [
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in modules() else source for alias in node.names
            ]
        elif isinstance(node, ast.Call) and _is_import_module(node.func):
            names = [str(each.value) for each in node.args[:1] if isinstance(each, ast.Constant)]
        else:
            continue
        yield from names


def _is_import_module(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return function.attr == "import_module" and ast.unparse(function) == "importlib.import_module"
    return isinstance(function, ast.Name) and function.id == "import_module"


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


def packages_in(root: Path) -> set[str]:
    """The directories with Python files, but for what is hidden or was built."""
    built = ("build", "node_modules", "cdk.out")
    return {
        each.name
        for each in root.iterdir()
        if each.is_dir() and not each.name.startswith(".") and each.name not in built and any(each.rglob("*.py"))
    }


def test_every_directory_with_python_is_looked_at() -> None:
    assert packages_in(ROOT) == {*PACKAGES, "tests"}
    assert {file.name for file in ROOT.glob("*.py")} == {"app.py"}


def test_a_new_directory_is_seen(tmp_path: Path) -> None:
    (tmp_path / "shop" / "deep").mkdir(parents=True)
    (tmp_path / "shop" / "deep" / "some.py").touch()
    (tmp_path / "docs").mkdir()
    assert packages_in(tmp_path) == {"shop"}


def test_every_module_stands_in_a_room() -> None:
    assert {room_of(module) for module in modules()} == set(ROOMS)


def test_every_import_that_is_allowed_is_used() -> None:
    used = {(room_of(module), room_of(target)) for module, targets in arrows().items() for target in targets}
    allowed = {(room, target) for room, targets in MAY_IMPORT.items() for target in targets}
    assert allowed - used == set()


def test_every_import_goes_the_way_that_the_rooms_allow() -> None:
    assert forbidden(arrows()) == []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert circles(arrows()) == []


def test_no_handler_imports_another() -> None:
    handlers = {module for module in modules() if room_of(module) == "handlers" and module != "lambdas"}
    assert {module: arrows()[module] & handlers for module in handlers if arrows()[module] & handlers} == {}


def test_only_the_choice_of_a_target_joins_operators_and_the_embedded_aws() -> None:
    """The commands run on real accounts: nothing else of them may depend on what runs on this machine."""
    found = {
        module
        for module, targets in arrows().items()
        if room_of(module) == "operators" and any(room_of(target) == "local" for target in targets)
    }
    assert found == {"operators.target"}


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
    """Each forbidden arrow, written once as a line into a module that exists and read like every other source."""
    module = next(each for each in modules() if room_of(each) == room)
    other = "tests.conftest" if target == "tests" else next(each for each in modules() if room_of(each) == target)
    source = ast.parse(f"def later():\n    import {other}\n")
    with_line = arrows()[module] | arrows_of(module, source)
    assert forbidden({module: with_line}) == [f"{module} imports {other}"]


# --- packages of others

AWS_CLIENTS = ("boto3", "botocore", "aiobotocore")
MAY_CALL_AWS = ("stores", "channels", "handlers", "local", "fakes", "operators", "demo", "examples", *OUTSIDE)
CHANNELS_THAT_CALL_AWS = re.compile(r"lambdas\.quiet_hours\.channels\.aws\w*")


def others_forbidden(module: str, names: Iterable[str]) -> list[str]:
    """The packages of others that a module may not import."""
    room = room_of(module)
    top = {name.split(".")[0] for name in names}
    may_call = room in MAY_CALL_AWS and (room != "channels" or CHANNELS_THAT_CALL_AWS.fullmatch(module))
    clients = top & set(AWS_CLIENTS) if not may_call else set()
    return sorted(clients | (top & {"aws_cdk", "constructs"} if module.startswith("lambdas") else set()))


def test_only_stores_aws_channels_and_what_stands_around_call_aws_and_no_function_knows_the_cdk() -> None:
    found = {module: others_forbidden(module, imported(module, tree(module))) for module in modules()}
    assert {module: names for module, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("module", "line", "seen"),
    [
        ("lambdas.quiet_hours.rule.policy", "import boto3", ["boto3"]),
        ("lambdas.quiet_hours.delivery.pacing", "from botocore.config import Config", ["botocore"]),
        ("lambdas.quiet_hours.delivery.calls", "import boto3", ["boto3"]),
        ("lambdas.quiet_hours.stores.turns", "from botocore.exceptions import ClientError", []),
        ("lambdas.quiet_hours.channels.http", "import botocore.session", ["botocore"]),
        ("lambdas.quiet_hours.settings", "import importlib\nimportlib.import_module('boto3')", ["boto3"]),
        ("lambdas.worker", "import aws_cdk", ["aws_cdk"]),
        ("lambdas.worker", "import boto3", []),
        ("infra.queues", "import boto3", ["boto3"]),
    ],
)
def test_a_package_of_others_that_is_forbidden_is_seen(module: str, line: str, seen: list[str]) -> None:
    assert others_forbidden(module, imported(module, ast.parse(line))) == seen


def test_a_circle_is_seen() -> None:
    assert circles({"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}) == [
        *("a", "b", "c"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        *("import local.server", "from local import server", "from local.server import start"),
        *("if TYPE_CHECKING:\n    from local import server", "def f():\n    from local import server"),
        *("import importlib\nimportlib.import_module('local.server')", "import_module('local.server')"),
    ],
)
def test_an_import_is_read_however_it_is_written(line: str) -> None:
    source = ast.parse(f"from typing import TYPE_CHECKING\n{line}\n")
    assert arrows_of("lambdas.worker", source) == {"local.server"}


def test_a_relative_import_is_read() -> None:
    source = ast.parse("from . import pacing\nfrom ..stores.ledger import Ledger\n")
    assert arrows_of("lambdas.quiet_hours.delivery.delivery", source) == {
        "lambdas.quiet_hours.delivery.pacing",
        "lambdas.quiet_hours.stores.ledger",
    }
