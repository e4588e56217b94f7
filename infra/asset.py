"""The one asset that all functions share: our code and its pinned dependencies, laid out without Docker.

Lambda's file system is read-only. Without byte code in the asset, every new process compiles again what it imports. So
the asset has byte code where this Python is the runtime's. Any other Python builds the same asset without it: it works
alike, and a process starts later.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent

THIS_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""This Python by the name of its runtime."""

_ON_LAMBDA = "/var/task"
"""Where Lambda puts the asset. Python corrects the paths in byte code that was compiled elsewhere, each time it is
loaded: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html"""

_STALE_AFTER_S = 3600
"""A build that no synth has used for so long is deleted; a younger one may be another synth's."""


def build(root: Path = ROOT, runtime: str = "", policy_folder: str = "") -> Path:
    """Return the directory to upload: the sources in `root`/lambdas, the policies in `root`/policies and in
    `policy_folder`, and what its requirements.txt pins.

    `runtime`: Lambda's name of the functions' Python, such as python3.14. If it is this Python, byte code is added.

    An unchanged tree gives the same directory again at once, and the same bytes on every machine, for byte code on
    every one with the same Python. Safe to call from several processes together. Raises `RuntimeError` when neither pip
    nor uv can install the requirements, or when Python cannot compile them.
    """
    sources = sorted(path for path in (root / "lambdas").rglob("*") if path.is_file() and _belongs(path))
    policies = _policies(root / "policies") | (_policies(Path(policy_folder)) if policy_folder else {})
    requirements = root / "lambdas" / "requirements.txt"
    compiler = _compiler(runtime)

    def copy_all(into: Path) -> None:
        shutil.copytree(_dependencies(requirements, root / "build" / "dependencies", compiler), into)
        for source in sources:
            target = into / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for place, content in policies.items():
            (into / place).parent.mkdir(parents=True, exist_ok=True)
            (into / place).write_bytes(content)
        if compiler:
            _compile(into, "lambdas")
        _readable_by_lambda(into)

    digest = sha256(_digest(sources, root, compiler).encode())
    for place, content in sorted(policies.items()):
        digest.update(f"\0{place}\0".encode() + sha256(content).digest())
    return _once(root / "build" / "asset" / digest.hexdigest()[:32], copy_all)


def _policies(folder: Path) -> dict[str, bytes]:
    """The policy files of a folder and their lists of holidays, by their place in the asset."""
    files = [*folder.glob("*.toml"), *folder.glob("holidays/*.toml")]
    return {f"policies/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in files}


def _compiler(runtime: str) -> str:
    """The Python that makes the byte code of `runtime`, by its exact version: this one, or none (empty).

    Only a final release, because byte code changes until then. Lambda's Python may be another release of the same
    version. It tells by a number in each file if it can read the byte code, and compiles the source if not.
    """
    is_final_cpython = sys.implementation.name == "cpython" and sys.version_info.releaselevel == "final"
    return sys.version if runtime == THIS_PYTHON and is_final_cpython else ""


def _compile(directory: Path, part: str = ".") -> None:
    """Add byte code for everything in `directory`, or in a part of it.

    It is used without a look at its source (unchecked-hash): a deployment changes the times of all files, and both come
    in one asset. A new process compiles, in a fixed order, with a fixed seed for hashes and none of the caller's
    settings of Python, so that the bytes depend on the sources and the Python alone.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # -s, -S and -P: nothing that is installed beside this Python, and nothing in `directory`, is imported.
    command = [sys.executable, "-s", "-S", "-P", "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash"]
    done = subprocess.run(
        [*command, "-s", os.fspath(directory), "-p", _ON_LAMBDA, os.fspath(directory / part)],
        env=environment | {"PYTHONHASHSEED": "0"},
        stdout=sys.stderr,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError("Python could not compile the functions or what they need: see its message above")


def _belongs(path: Path) -> bool:
    return "__pycache__" not in path.parts


def _dependencies(requirements: Path, builds: Path, compiler: str) -> Path:
    """Install the requirements apart from the sources, so that an edit of our code downloads and compiles nothing of
    them."""

    def install(into: Path) -> None:
        name, command = _installer()
        pinned = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(requirements)]
        if subprocess.run([*command, *pinned, "--target", str(into)], stdout=sys.stderr, check=False).returncode != 0:
            raise RuntimeError(f"{name} could not install {requirements.name} for the functions: see its message above")
        if native := _native(into):
            raise RuntimeError(f"{requirements.name} must be pure Python, but brings {', '.join(native)}")
        _remove_traces(into)
        if compiler:
            _compile(into)

    return _once(builds / _digest([requirements], requirements.parent, compiler), install)


def _installer() -> tuple[str, list[str]]:
    """Find pip, or else uv; return its name and its command. `uv venv` makes environments without pip."""
    if importlib.util.find_spec("pip"):
        # "any" and "none" are the tags of pure Python: one asset for arm64, x86 and every Python version.
        pure_python = ["--platform", "any", "--implementation", "py", "--abi", "none"]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-compile"]
        return "pip", [sys.executable, "-m", "pip", "install", *quiet, *pure_python]
    beside_python = os.fspath(Path(sys.executable).parent)
    if uv := shutil.which("uv", path=os.pathsep.join([beside_python, os.environ.get("PATH", "")])):
        # uv links files to its cache unless told to copy them, and `_readable_by_lambda` would change those too.
        quiet = ["--quiet", "--no-compile-bytecode", "--link-mode", "copy"]
        return "uv", [uv, "pip", "install", *quiet, "--python", sys.executable]
    raise RuntimeError(
        f"{sys.executable} has no pip, and uv is not on PATH: one of them must install what the functions need. "
        f"Run `{sys.executable} -m ensurepip`, or put uv on PATH."
    )


def _native(into: Path) -> list[str]:
    """The files with machine code, and the packages built for one platform: uv cannot be told to leave those out."""
    libraries = [path.name for path in into.rglob("*.so")]
    built_for_one = [
        path.parent.name.removesuffix(".dist-info")
        for path in into.glob("*.dist-info/WHEEL")
        if re.search(r"^Tag: (?!.*-none-any\s*$)", path.read_text(), re.MULTILINE)
    ]
    return sorted({*libraries, *built_for_one})


def _remove_traces(into: Path) -> None:
    """Remove what differs between machines and installers.

    Scripts name this machine's interpreter in their first line, and RECORD holds the scripts' hashes.
    """
    shutil.rmtree(into / "bin", ignore_errors=True)
    (into / ".lock").unlink(missing_ok=True)
    for trace in ("RECORD", "INSTALLER", "REQUESTED", "uv_cache.json"):
        for path in into.glob(f"*.dist-info/{trace}"):
            path.unlink()


def _digest(files: Iterable[Path], root: Path, compiler: str) -> str:
    digest = sha256(Path(__file__).read_bytes())  # what this module does to the files is part of the result
    digest.update(compiler.encode())
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
        with suppress(FileNotFoundError):  # another maker's scratch, which has just gone
            if time.time() - other.stat().st_mtime > _STALE_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
    return directory


def _readable_by_lambda(directory: Path) -> None:
    """Lambda runs as another user than the one whose umask wrote the files."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
