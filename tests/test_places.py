"""Folders of the user's, and what goes on without a home folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import places
from bench.cards.catalog import Catalog
from bench.cards.folders import weights_cache
from bench.datasets.forms import default_data_dir
from bench.datasets.track import Track
from bench.errors import UsageError


@pytest.fixture
def homeless(monkeypatch):
    for name in ("ROBUSTOOD_DATA", "ROBUSTOOD_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "user_cache", lambda: None)
    monkeypatch.setattr("bench.cards.folders.user_cache", lambda: None)
    monkeypatch.setattr("bench.datasets.forms.user_cache", lambda: None)


@pytest.mark.parametrize("answer", ["~/.cache/robustood", "relative/.cache"])
def test_a_cache_that_is_no_absolute_path_counts_as_none(monkeypatch, answer):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: answer)
    assert places.user_cache() is None


def test_a_system_that_knows_no_home_has_no_cache(monkeypatch):
    def unknown(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_dir", unknown)
    assert places.user_cache() is None


@pytest.mark.parametrize("path", ["~no-such-user-here/data", "~no-such-user-here"])
def test_a_home_that_is_not_known_is_one_sentence(path):
    with pytest.raises(UsageError, match="ROBUSTOOD_DATA: no home folder is known for its '~'"):
        places.expanded(path, "ROBUSTOOD_DATA")


def test_without_a_home_the_embedded_track_and_weights_are_found(homeless):
    from bench.cards.folders import builtin_content

    catalog = Catalog(builtin=builtin_content())
    assert weights_cache() is None
    assert catalog.weights_path("no-such-file.safetensors") is None
    assert len(Track(catalog.track("digits")).set("test")) == 400


def test_weights_that_belong_to_no_workspace_lie_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("ROBUSTOOD_WEIGHTS", raising=False)
    monkeypatch.setattr("bench.cards.folders.user_cache", lambda: tmp_path)
    assert weights_cache() == tmp_path / "weights"
    monkeypatch.setenv("ROBUSTOOD_WEIGHTS", str(tmp_path / "elsewhere"))
    assert weights_cache() == tmp_path / "elsewhere"


def test_without_a_home_what_needs_a_folder_says_which_variable_names_one(homeless, tmp_path):
    with pytest.raises(UsageError, match="name one by ROBUSTOOD_DATA"):
        default_data_dir()
    with pytest.raises(UsageError, match="name one by ROBUSTOOD_WEIGHTS"):
        Catalog(builtin=tmp_path).weights_dir_for_writing()


def test_a_data_check_of_the_embedded_track_needs_no_home():
    command = [sys.executable, "-m", "bench", "data", "check", "--track", "digits"]
    root = str(Path(places.__file__).parents[1])
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PATH": "/usr/bin"} | {"HOME": "not-absolute"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_data_check_without_a_home_says_so_and_a_download_asks_for_a_folder(homeless):
    from typer.testing import CliRunner

    from bench.cli.app import app

    done = CliRunner().invoke(app, ["data", "check", "--track", "digits"])
    assert done.exit_code == 0, done.output
    assert "there is no home folder" in " ".join(done.output.split())
    refused = CliRunner().invoke(app, ["data", "download", "--track", "mnist"])
    assert refused.exit_code == 2 or isinstance(refused.exception, UsageError), refused.output
