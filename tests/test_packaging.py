"""The wheel, the source distribution and an editable install, each tried in an environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import bench

CHECKOUT = Path(bench.__file__).parents[1]
CONTENT = ("datasets", "detectors", "threat_models", "leaderboards", "benchmarks/papers")

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "pyproject.toml").is_file(), reason="the tests run from an installed package, not from a checkout"
)


def run(*command, cwd, **environment):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp("source") / "robustood"
    shutil.copytree(
        CHECKOUT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", "runs", ".*cache", ".venv", ".hypothesis")
    )
    return copy


@pytest.fixture(scope="module")
def distributions(source, tmp_path_factory):
    """The source distribution, and the wheel that is built from it, with no network."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture
def environment(tmp_path):
    """A fresh environment that borrows the dependencies of this one but has no bench; gives its python."""
    home = tmp_path / "env"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (own / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def install(python, *what, cwd):
    offline = ("--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--ignore-installed", *offline, *what, cwd=cwd)


def asked(python, code, cwd):
    return run(python, "-c", code, cwd=cwd).strip()


WHERE = "import bench, bench.cards.catalog as c; print(bench.__file__); print(c.Catalog.find().content_roots())"


def test_the_wheel_has_one_package_and_all_content(distributions):
    names = zipfile.ZipFile(distributions[1]).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"bench"}
    shipped = {name for name in names if name.startswith("bench/_content/")}
    for folder in CONTENT:
        files = (path.relative_to(CHECKOUT) for path in (CHECKOUT / folder).rglob("[!.]*") if path.is_file())
        assert {f"bench/_content/{path}" for path in files} <= shipped
    assert not [name for name in shipped if name.endswith(".py")]


def test_the_wheel_names_the_command_and_the_licence(distributions):
    wheel = zipfile.ZipFile(distributions[1])
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "bench = bench.__main__:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert any(name.startswith(f"{info}/licenses/") for name in wheel.namelist())


def test_the_version_of_the_distribution_is_the_one_the_command_prints(distributions):
    assert {path.name.split("-")[1].removesuffix(".tar.gz") for path in distributions} == {bench.__version__}


def test_the_source_distribution_has_what_the_wheel_is_built_from(distributions):
    with tarfile.open(distributions[0]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "bench/__init__.py", "tests/test_packaging.py"} <= names
    assert {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "datasets").glob("*.yaml")} <= names


def test_an_installed_wheel_finds_its_content_outside_the_checkout(distributions, environment, tmp_path):
    install(environment, distributions[1], cwd=tmp_path)
    module, roots = asked(environment, WHERE, tmp_path).splitlines()
    assert Path(module).is_relative_to(tmp_path)
    assert roots == f"[{Path(module).resolve().parent / '_content'!r}]"
    listed = run(environment.parent / "bench", "list", cwd=tmp_path, COLUMNS="200")
    for path in (CHECKOUT / "datasets").glob("*.yaml"):
        assert path.stem in listed
    assert "built-in" in listed


def test_an_editable_install_finds_the_content_of_its_checkout(source, environment, tmp_path):
    install(environment, "--editable", source, cwd=tmp_path)
    module, roots = asked(environment, WHERE, tmp_path).splitlines()
    assert Path(module).is_relative_to(source)
    assert roots == f"[{source.resolve()!r}]"
    assert "digits" in run(environment.parent / "bench", "list", "tracks", cwd=tmp_path)
