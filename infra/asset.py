"""The one asset that all functions share: our code and its pinned dependencies, laid out without Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent

_STALE_AFTER_S = 3600
"""A build that no synth has used for so long is deleted; a younger one may be another synth's."""


def build(root: Path = ROOT) -> Path:
    """Return the directory to upload: `lambdas/` as it is under `root`, and what its requirements.txt pins.

    An unchanged tree gives the same directory again at once, and the same bytes on every machine. Safe to call from
    several processes together. Raises `RuntimeError` when pip cannot install the requirements.
    """
    sources = sorted(path for path in (root / "lambdas").rglob("*") if path.is_file() and _belongs(path))
    requirements = root / "lambdas" / "requirements.txt"

    def copy_all(into: Path) -> None:
        shutil.copytree(_dependencies(requirements, root / "build" / "dependencies"), into)
        for source in sources:
            target = into / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        _readable_by_lambda(into)

    return _once(root / "build" / "asset" / _digest(sources, root), copy_all)


def _belongs(path: Path) -> bool:
    return "__pycache__" not in path.parts


def _dependencies(requirements: Path, builds: Path) -> Path:
    """Kept apart from the sources, so that an edit of ours asks nothing of the package index."""

    def install(into: Path) -> None:
        # "any" and "none" are the tags of pure Python: one asset for arm64, x86 and every Python version.
        pure_python = ["--platform", "any", "--implementation", "py", "--abi", "none", "--only-binary", ":all:"]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        pinned = ["--require-hashes", "--requirement", str(requirements), "--target", str(into)]
        if subprocess.run([*pip, *pure_python, *pinned], stdout=sys.stderr, check=False).returncode != 0:
            raise RuntimeError(f"pip could not install {requirements.name} for the functions: see its message above")
        native = sorted(path.name for path in into.rglob("*.so"))
        if native:
            raise RuntimeError(f"{requirements.name} must be pure Python, but brings {', '.join(native)}")
        # Scripts name this machine's interpreter in their first line, and RECORD holds the scripts' hashes.
        shutil.rmtree(into / "bin", ignore_errors=True)
        for record in into.glob("*.dist-info/RECORD"):
            record.unlink()

    return _once(builds / _digest([requirements], requirements.parent), install)


def _digest(files: Iterable[Path], root: Path) -> str:
    digest = sha256(Path(__file__).read_bytes())  # what this module does to the files is part of the result
    for file in files:
        digest.update(f"\0{file.relative_to(root).as_posix()}\0".encode() + sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _once(directory: Path, make: Callable[[Path], None]) -> Path:
    """Make `directory` unless it exists. It appears whole or not at all; of two makers at once, the first wins."""
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=directory.parent) as scratch:
            made = Path(scratch) / directory.name
            make(made)
            try:
                made.rename(directory)
            except OSError:
                if not directory.is_dir():
                    raise
    os.utime(directory)
    for other in directory.parent.iterdir():
        if time.time() - other.stat().st_mtime > _STALE_AFTER_S:
            shutil.rmtree(other, ignore_errors=True)
    return directory


def _readable_by_lambda(directory: Path) -> None:
    """Lambda runs as another user than the one whose umask wrote the files."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
