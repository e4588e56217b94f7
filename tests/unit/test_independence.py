"""The unit tests need neither the embedded AWS nor the CDK nor simulated nights: `make unit` installs none of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOT_FOR_UNITS = ("aws_cdk", "infra", "simulation", "benchmarks")
"""The operators' commands import `local`, which needs nothing installed until it starts the embedded AWS."""

IMPORT_ALL = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
print(*sorted(sys.modules), sep="\\n")
"""


def test_no_unit_test_imports_the_cdk_the_embedded_aws_or_the_simulation() -> None:
    names = [f"tests.unit.{path.stem}" for path in sorted(HERE.glob("*.py")) if path.stem != "__init__"]
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = done.stdout.splitlines()
    assert "tests.unit.test_policy" in imported
    assert [name for name in imported if name.startswith(NOT_FOR_UNITS)] == []
