"""Starts an embedded AWS with the stack in each test process that runs tests of this folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.process import Provider
from local import deploy, server
from tests.helpers.pipeline import Pipeline

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests `embedded`, and make each file a group: processes share the work file by file."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(f"embedded-{item.path.stem}"))
            item.add_marker(pytest.mark.embedded)


def synthesised(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stack's cloud assembly. The first process that needs it makes it, and the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    assembly = shared / "assembly"
    with (shared / "assembly.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (assembly / "manifest.json").exists():
            deploy.synthesise(endpoint, assembly, shared / "assembly.log", [])
    return assembly


@dataclass(frozen=True)
class EmbeddedAws:
    """An embedded AWS, and the folder in which it keeps its files."""

    endpoint: str
    folder: Path


@pytest.fixture(scope="session")
def embedded_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedAws]:
    """An embedded AWS with nothing in it but what tests of this process have put there."""
    folder = tmp_path_factory.mktemp("embedded")
    started = server.start(server.free_port(), folder)
    try:
        yield EmbeddedAws(started.endpoint, folder)
    finally:
        started.stop()


@pytest.fixture(scope="session")
def deployed(embedded_aws: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The stack, deployed once, and the provider that its webhook channel calls."""
    endpoint, folder = embedded_aws.endpoint, embedded_aws.folder
    # Tests stop the provider and start it again: meanwhile no other process may be given its port.
    provider = Provider(folder / "received.jsonl", server.free_port())
    try:
        provider.start()
        assembly = synthesised(endpoint, tmp_path_factory)
        outputs = deploy.deploy(endpoint, folder / "deploy", [], assembly)
        yield Pipeline(endpoint, outputs, provider, folder)
    finally:
        provider.stop()


@pytest.fixture
def pipeline(deployed: Pipeline) -> Iterator[Pipeline]:
    """The stack by day, with a provider that answers 200. Each test begins like this, whatever the last one changed."""
    deployed.day()
    deployed.end_rests()
    yield deployed
    deployed.provider.stop()
    deployed.provider.start()
