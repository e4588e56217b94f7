"""An embedded AWS with the stack for each test process that runs tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.process import Provider
from local import deploy, server
from tests.helpers.pipeline import Pipeline

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests: a file is a group, so that two processes take two files, each with a stack of its own;
    and `embedded`, to be left out by name."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"embedded-{item.path.stem}"))
            item.add_marker(pytest.mark.embedded)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The stack, deployed once, and the provider that its webhook channel calls."""
    folder = tmp_path_factory.mktemp("embedded")
    embedded = server.start(server.free_port(), folder)
    provider = Provider(folder / "received.jsonl")
    try:
        provider.start()
        outputs = deploy.deploy(embedded.endpoint, folder / "deploy", [])
        yield Pipeline(embedded.endpoint, outputs, provider, folder)
    finally:
        embedded.stop()
        provider.stop()


@pytest.fixture
def pipeline(deployed: Pipeline) -> Iterator[Pipeline]:
    """The stack by day, with a provider that answers 200; what a test changes of that is undone after it."""
    deployed.day()
    yield deployed
    deployed.provider.stop()
    deployed.provider.start()
