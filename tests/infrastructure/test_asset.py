"""The asset: what is in it, that it stands by itself, and that building it is cheap, repeatable and all or nothing."""

import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from threading import Barrier
from types import CodeType, SimpleNamespace
from zipfile import ZipFile

import pytest

from infra import asset
from infra.function import RUNTIME
from tests.helpers.stack_template import make_stack

# --- the real one


@pytest.fixture(scope="module")
def built() -> Path:
    return asset.build()


def test_it_holds_the_handlers_and_what_they_import(built: Path) -> None:
    for path in ("producer", "consumer", "scheduler", "worker", "quiet_hours/rule/policy"):
        assert (built / "lambdas" / f"{path}.py").is_file()
    assert (built / "aws_lambda_powertools" / "__init__.py").is_file()


def test_it_holds_the_policies_and_those_of_ones_own_and_stays_small(built: Path, tmp_path: Path) -> None:
    assert (built / "policies" / "korea.toml").read_bytes() == (asset.ROOT / "policies" / "korea.toml").read_bytes()
    assert sum(path.stat().st_size for path in (built / "policies").rglob("*.toml")) < 20_000
    assert "holidays" not in {path.name for path in built.iterdir()}
    (tmp_path / "acme.toml").write_text("title = 1")
    (tmp_path / "france.toml").write_text("title = 2")
    own = asset.build(policy_folder=str(tmp_path))
    assert own != built
    assert [(own / "policies" / f"{name}.toml").read_text() for name in ("acme", "france")] == [
        "title = 1",
        "title = 2",
    ]
    assert (own / "policies" / "holidays" / "FR.toml").is_file()
    assert asset.build() == built


def test_it_holds_nothing_that_is_of_one_machine_or_comes_with_the_runtime(built: Path) -> None:
    paths = [path.relative_to(built) for path in built.rglob("*")]
    assert not [path for path in paths if path.suffix in (".so", ".pyc") or path.name == "__pycache__"]
    assert not {"boto3", "botocore", "urllib3", "bin"} & {path.parts[0] for path in paths}
    here = os.fsencode(asset.ROOT)
    assert not [path for path in paths if (built / path).is_file() and here in (built / path).read_bytes()]


def test_sam_finds_no_requirements_to_install_again(built: Path) -> None:
    assert not (built / "requirements.txt").exists()


def test_the_handlers_import_with_nothing_but_the_asset_and_what_the_runtime_brings(
    built: Path, tmp_path: Path
) -> None:
    for name in ("boto3", "botocore", "s3transfer", "urllib3", "dateutil", "six"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (tmp_path / source.name).symlink_to(source)
    handlers = ", ".join(f"lambdas.{name}" for name in ("producer", "consumer", "scheduler", "worker"))
    script = f"import sys; sys.path += {[str(built), str(tmp_path)]}; import {handlers}"
    environment = {"AWS_DEFAULT_REGION": "us-east-1"}
    # -I and -S: no site-packages, no user's packages, no current directory.
    subprocess.run([sys.executable, "-B", "-I", "-S", "-c", script], env=environment, check=True)


def test_a_process_compiles_nothing_of_an_asset_with_byte_code(tmp_path: Path) -> None:
    built = asset.build(runtime=asset.THIS_PYTHON)
    script = (
        "import sys; from importlib.machinery import SourceFileLoader as Loader\n"
        "compiled, of_source = [], Loader.source_to_code\n"
        "def note(self, data, path, **given): compiled.append(path); return of_source(self, data, path, **given)\n"
        f"Loader.source_to_code = note; sys.path.insert(0, {os.fspath(built)!r})\n"
        "import lambdas.producer, lambdas.worker\n"
        f"sys.exit(sum(path.startswith({os.fspath(built)!r}) for path in compiled))"
    )
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "PYTHONDONTWRITEBYTECODE": "1"}
    assert subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, check=False).returncode == 0


def test_byte_code_is_of_no_machine(built: Path) -> None:
    compiled = asset.build(runtime=asset.THIS_PYTHON)
    here = os.fsencode(asset.ROOT)
    assert not [path for path in compiled.rglob("*") if path.is_file() and here in path.read_bytes()]
    sources = {path: content for path, content in _contents(compiled).items() if not path.endswith(".pyc")}
    assert sources == _contents(built)


def test_the_stack_s_asset_is_for_the_python_of_its_functions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "asset").mkdir()
    asked: list[str] = []

    def build(*, runtime: str, policy_folder: str) -> Path:
        asked.append(runtime)
        return tmp_path / "asset"

    monkeypatch.setattr(asset, "build", build)
    make_stack()
    assert asked == [RUNTIME.name]


# --- how it is built, on a small tree whose one requirement is a wheel on disk


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The only place where pip and uv look."""
    directory = tmp_path_factory.mktemp("wheels")
    with pytest.MonkeyPatch.context() as patch:
        for installer in ("PIP", "UV"):
            patch.setenv(f"{installer}_NO_INDEX", "1")
            patch.setenv(f"{installer}_FIND_LINKS", str(directory))
        patch.setenv("UV_CACHE_DIR", str(tmp_path_factory.mktemp("uv-cache")))
        yield directory


@pytest.fixture(scope="module")
def small_built(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tree, with its asset and its dependencies built by pip."""
    root = _sources(tmp_path_factory.mktemp("built"), _wheel(wheels, "small"))
    asset.build(root)
    return root


@pytest.fixture
def tree(small_built: Path, tmp_path: Path) -> Path:
    """The small tree in another place, with its dependencies there already."""
    shutil.copytree(small_built / "lambdas", tmp_path / "lambdas")
    shutil.copytree(small_built / "build" / "dependencies", tmp_path / "build" / "dependencies")
    return tmp_path


def _sources(root: Path, requirement: str) -> Path:
    (root / "lambdas" / "quiet_hours").mkdir(parents=True)
    (root / "lambdas" / "worker.py").write_text("handler = None\n")
    (root / "lambdas" / "quiet_hours" / "policy.py").write_text("decide = None\n")
    (root / "lambdas" / "requirements.txt").write_text(requirement)
    return root


def _wheel(directory: Path, name: str, tag: str = "py3-none-any", **files: str) -> str:
    """Make a wheel of a module, a console script and `files`. Returns the requirement that pins it."""
    info = f"{name}-1.0.dist-info"
    contents = {
        f"{name}.py": "def main(): pass\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        **files,
    }
    digests = {path: sha256(text.encode()).digest() for path, text in contents.items()}
    record = [f"{path},sha256={urlsafe_b64encode(digest).decode().rstrip('=')}," for path, digest in digests.items()]
    wheel = directory / f"{name}-1.0-{tag}.whl"
    with ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return f"{name}==1.0 --hash=sha256:{sha256(wheel.read_bytes()).hexdigest()}\n"


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_sources_and_requirements_lie_side_by_side(tree: Path) -> None:
    (tree / "lambdas" / "__pycache__").mkdir()
    (tree / "lambdas" / "__pycache__" / "worker.pyc").write_text("")
    assert {path for path in _contents(asset.build(tree)) if "dist-info" not in path} == {
        "lambdas/worker.py",
        "lambdas/quiet_hours/policy.py",
        "lambdas/requirements.txt",
        "small.py",
    }


def test_an_unchanged_tree_is_not_built_again(tree: Path) -> None:
    first = asset.build(tree)
    (first / "mark").touch()
    assert asset.build(tree) == first
    assert (first / "mark").exists()


def test_an_edit_makes_another_asset_without_asking_pip(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    first = asset.build(tree)
    (tree / "lambdas" / "worker.py").write_text("handler = print\n")
    second = asset.build(tree)
    assert second.name != first.name
    assert (second / "lambdas" / "worker.py").read_text() == "handler = print\n"


def test_the_bytes_are_the_same_in_another_place(small_built: Path, wheels: Path, tmp_path: Path) -> None:
    shutil.copytree(small_built / "lambdas", tmp_path / "lambdas")
    here, there = asset.build(tmp_path), asset.build(small_built)
    assert here.name == there.name
    assert _contents(here) == _contents(there)


def test_lambda_can_read_it_whatever_the_umask(tree: Path) -> None:
    before = os.umask(0o077)
    try:
        built = asset.build(tree)
    finally:
        os.umask(before)
    paths = [built, *built.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o755}


def test_an_altered_requirement_is_refused_and_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    _wheel(wheels, "altered")
    root = _sources(tmp_path, f"altered==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(RuntimeError, match=r"pip could not install requirements\.txt"):
        asset.build(root)
    assert not list((root / "build").rglob("*.py"))


def test_a_requirement_with_machine_code_is_refused(wheels: Path, tmp_path: Path) -> None:
    root = _sources(tmp_path, _wheel(wheels, "native", **{"native.so": "machine code"}))
    with pytest.raises(RuntimeError, match=r"must be pure Python, but brings native\.so"):
        asset.build(root)


def test_two_builds_at_once_end_with_one_whole_asset(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _contents(asset.build(tree))
    shutil.rmtree(tree / "build" / "asset")
    both, finish = Barrier(2), asset._readable_by_lambda

    def finish_together(directory: Path) -> None:
        finish(directory)
        both.wait(timeout=120)

    monkeypatch.setattr(asset, "_readable_by_lambda", finish_together)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(asset.build, [tree, tree])
    assert one == other
    assert _contents(one) == expected
    assert list((tree / "build" / "asset").iterdir()) == [one]


def test_builds_that_no_one_has_used_for_an_hour_are_deleted(tree: Path) -> None:
    builds = tree / "build" / "asset"
    for name, age_s in (("old", 3700), ("young", 60)):
        (builds / name).mkdir(parents=True)
        os.utime(builds / name, (time.time() - age_s,) * 2)
    built = asset.build(tree)
    assert {path.name for path in builds.iterdir()} == {"young", built.name}


def test_what_another_build_has_just_removed_is_no_error(tree: Path) -> None:
    builds = tree / "build" / "asset"
    builds.mkdir(parents=True)
    (builds / "scratch").symlink_to("removed")  # it is listed, and is not there any more
    assert asset.build(tree).is_dir()


# --- byte code, where this Python is the runtime's


def _byte_code(directory: Path) -> dict[str, CodeType]:
    """The code objects by the path of their source."""
    return {
        importlib.util.source_from_cache(path): marshal.loads(content[16:])
        for path, content in _contents(directory).items()
        if path.endswith(".pyc")
    }


def test_every_module_has_byte_code_that_lambda_uses_without_a_look_at_the_source(tree: Path) -> None:
    built = asset.build(tree, runtime=asset.THIS_PYTHON)
    modules = {path for path in _contents(built) if path.endswith(".py")}
    assert "small.py" in modules and "lambdas/quiet_hours/policy.py" in modules
    assert _byte_code(built).keys() == modules
    assert all(code.co_filename == f"/var/task/{path}" for path, code in _byte_code(built).items())
    for path, content in _contents(built).items():
        if path.endswith(".pyc"):
            assert content[:4] == importlib.util.MAGIC_NUMBER
            assert int.from_bytes(content[4:8], "little") == 0b01, "a hash of the source, which nobody checks"


def test_byte_code_has_the_same_bytes_in_another_place_with_another_environment(
    small_built: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set's order depends on the seed of hashes, and a compiler has many."""
    texts = ", ".join(repr(f"text {number}") for number in range(100))
    source = f"def is_known(text: str) -> bool:\n    return text in {{{texts}}}\n"
    built = []
    for seed in ("1", "2"):
        root = tmp_path / f"in a place with a name of {seed}"
        shutil.copytree(small_built / "lambdas", root / "lambdas")
        (root / "lambdas" / "worker.py").write_text(source)
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        monkeypatch.setenv("PYTHONOPTIMIZE", seed)
        built.append(asset.build(root, runtime=asset.THIS_PYTHON))
    one, other = built
    assert one.name == other.name
    assert _contents(one) == _contents(other)


@pytest.mark.parametrize("runtime", ["", "python3.99"])
def test_another_python_than_the_runtime_s_builds_the_asset_without_byte_code(tree: Path, runtime: str) -> None:
    with_byte_code = asset.build(tree, runtime=asset.THIS_PYTHON)
    built = asset.build(tree, runtime=runtime)
    assert built != with_byte_code
    assert _byte_code(built) == {}
    assert _contents(built).items() < _contents(with_byte_code).items()


def test_a_python_that_is_not_released_makes_no_byte_code(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = SimpleNamespace(releaselevel="candidate")
    monkeypatch.setattr(asset, "sys", SimpleNamespace(implementation=sys.implementation, version_info=candidate))
    assert _byte_code(asset.build(tree, runtime=asset.THIS_PYTHON)) == {}


def test_byte_code_of_another_python_is_passed_over(tree: Path) -> None:
    """Should Lambda's Python not read it, the functions work as without."""
    (tree / "lambdas" / "worker.py").write_text("handler = 'of the source'\n")
    built = asset.build(tree, runtime=asset.THIS_PYTHON)
    for path in built.rglob("*.pyc"):
        path.write_bytes(b"\0\0\r\n" + path.read_bytes()[4:])
    script = "import lambdas.worker, small; print(lambdas.worker.handler)"
    command = [sys.executable, "-B", "-c", script]
    done = subprocess.run(command, cwd=built, capture_output=True, text=True, check=True)
    assert done.stdout == "of the source\n"


def test_an_edit_compiles_none_of_the_dependencies_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset.build(tree, runtime=asset.THIS_PYTHON)
    compiled: list[str] = []
    compile_part = asset._compile

    def note(directory: Path, part: str = ".") -> None:
        compiled.append(part)
        compile_part(directory, part)

    monkeypatch.setattr(asset, "_compile", note)
    (tree / "lambdas" / "worker.py").write_text("handler = print\n")
    built = asset.build(tree, runtime=asset.THIS_PYTHON)
    assert compiled == ["lambdas"]
    assert "small.py" in _byte_code(built)


def test_a_module_that_python_cannot_compile_is_an_error_and_leaves_nothing(tree: Path) -> None:
    (tree / "lambdas" / "worker.py").write_text("handler = (\n")
    with pytest.raises(RuntimeError, match="could not compile"):
        asset.build(tree, runtime=asset.THIS_PYTHON)
    assert not list((tree / "build" / "asset").iterdir())


# --- in an environment without pip, as `uv venv` makes it


@pytest.fixture(scope="module")
def without_pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has no pip; uv is not beside it."""
    directory = tmp_path_factory.mktemp("venv") / "without-pip"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def path_with_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH that holds uv alone."""
    uv = shutil.which("uv", path=os.fspath(Path(sys.executable).parent))
    assert uv, "uv is pinned in requirements/uv.txt: make setup installs it"
    directory = tmp_path_factory.mktemp("path")
    (directory / "uv").symlink_to(uv)
    return directory


def _build_with(python: Path, root: Path, path: Path) -> "subprocess.CompletedProcess[str]":
    script = "import sys; from pathlib import Path; from infra import asset; print(asset.build(Path(sys.argv[1])))"
    return subprocess.run(
        [str(python), "-B", "-c", script, str(root)],
        cwd=asset.ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_uv_installs_where_there_is_no_pip_and_the_bytes_are_the_same(
    small_built: Path, wheels: Path, without_pip: Path, path_with_uv: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_built / "lambdas", tmp_path / "lambdas")
    built = _build_with(without_pip, tmp_path, path_with_uv)
    assert built.returncode == 0, built.stderr
    by_uv, by_pip = Path(built.stdout.strip()), asset.build(small_built)
    assert by_uv.name == by_pip.name
    assert _contents(by_uv) == _contents(by_pip)
    assert all(path.stat().st_nlink == 1 for path in by_uv.rglob("*") if path.is_file())  # none is shared with a cache


def test_uv_refuses_an_altered_requirement(wheels: Path, without_pip: Path, path_with_uv: Path, tmp_path: Path) -> None:
    _wheel(wheels, "altered")
    root = _sources(tmp_path, f"altered==1.0 --hash=sha256:{'0' * 64}\n")
    built = _build_with(without_pip, root, path_with_uv)
    assert built.returncode != 0
    assert "uv could not install requirements.txt" in built.stderr
    assert not list((root / "build").rglob("*.py"))


def test_a_package_for_one_platform_is_refused_when_uv_installs_it(
    wheels: Path, without_pip: Path, path_with_uv: Path, tmp_path: Path
) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    root = _sources(tmp_path, _wheel(wheels, "compiled", tag=f"py3-none-{platform}"))
    built = _build_with(without_pip, root, path_with_uv)
    assert built.returncode != 0
    assert "RuntimeError: requirements.txt must be pure Python, but brings compiled-1.0" in built.stderr


def test_without_pip_and_uv_the_error_names_the_fix(without_pip: Path, tmp_path: Path) -> None:
    root = _sources(tmp_path, "small==1.0\n")
    built = _build_with(without_pip, root, tmp_path / "nothing")
    assert built.returncode != 0
    assert built.stderr.splitlines()[-1] == (
        f"RuntimeError: {without_pip} has no pip, and uv is not on PATH: one of them must install what the functions "
        f"need. Run `{without_pip} -m ensurepip`, or put uv on PATH."
    )
