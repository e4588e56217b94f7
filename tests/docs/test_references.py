"""Everything that the documentation names exists: links and their anchors, make commands, modules, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, code

LINKS = sorted({(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\((?!http)([^)\s]+)\)", text)})
SPANS = [(page, span) for page, text in PAGES.items() if page != "CHANGELOG.md" for span in code(text)]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FOLDERS = re.findall(r"^\| `(\w+)/` \|", PAGES["CONTRIBUTING.md"], re.MULTILINE)
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)}|\.ci)/[\w./-]*\w")

YOURS = {"lambdas/quiet_hours/channels/discord.py"}
"""The example in docs/channels.md is a file that the reader writes."""


def in_spans(pattern: str) -> list[tuple[str, str]]:
    """Each page with each thing that its code names."""
    return sorted({(page, name) for page, span in SPANS for name in re.findall(pattern, span)})


def sources() -> Iterator[Path]:
    """The project's own files that may name a page."""
    yield ROOT / "Makefile"
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_leads_somewhere(page: str, link: str) -> None:
    path, _, anchor = unquote(link).partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page

    assert target.exists()
    if anchor:
        assert anchor in anchors(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "target"), in_spans(r"^make ([a-z][a-z-]*)"))
def test_every_make_command_exists(page: str, target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(("page", "module"), in_spans(r"python -m ([\w.]+)"))
def test_every_module_that_a_command_runs_exists(page: str, module: str) -> None:
    spec = find_spec(module)

    assert spec
    assert not spec.submodule_search_locations or find_spec(f"{module}.__main__")


@pytest.mark.parametrize(("page", "path"), in_spans(PATH.pattern))
def test_every_path_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists() or path in YOURS


@pytest.mark.parametrize(("page", "name"), in_spans(r"^(\w+\.py)$"))
def test_every_file_that_is_named_without_its_folder_exists(page: str, name: str) -> None:
    assert (ROOT / name).exists() or any(path for folder in FOLDERS for path in (ROOT / folder).rglob(name))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_of_the_layout_exists(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_the_layout_has_every_folder_with_code() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} <= set(FOLDERS)


def test_every_page_that_the_code_names_exists() -> None:
    named = {
        (source.relative_to(ROOT).as_posix(), page)
        for source in sources()
        for page in re.findall(r"docs/[\w/-]+\.md", source.read_text(encoding="utf-8"))
    }

    assert named
    assert not {(source, page) for source, page in named if not (ROOT / page).exists()}
