"""`bench data`, and the check behind it."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cards.catalog import Catalog, Kind
from bench.cards.track import TrackCard
from bench.cli.app import app
from bench.cli.data import _cards
from bench.datasets.base import content_digest
from bench.datasets.check import State, check_track

IMAGES = np.random.default_rng(2).integers(256, size=(6, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(6, dtype=np.int64)
CARD = """
name: toy
summary: small
shape: [1, 4, 4]
classes: 6
train: {source: npz, args: {file: good.npz}, digest: DIGEST}
calibration: {source: npz, args: {file: good.npz}, stop: 2}
test: {source: npz, args: {file: other.npz}, digest: DIGEST}
ood:
  gone: {source: npz, args: {file: gone.npz}}
  broken: {source: npz, args: {file: broken.npz}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy.yaml").write_text(CARD.replace("DIGEST", content_digest(IMAGES, LABELS)))
    np.savez(tmp_path / "good.npz", images=IMAGES, labels=LABELS)
    np.savez(tmp_path / "other.npz", images=IMAGES + 1, labels=LABELS)
    (tmp_path / "broken.npz").write_bytes(b"?")
    return tmp_path


def test_every_set_is_told_apart(workspace: Path) -> None:
    import yaml

    card = TrackCard.model_validate(yaml.safe_load((workspace / "datasets" / "toy.yaml").read_text()))
    found = {each.name: each for each in check_track(card, workspace)}
    assert {name: each.state for name, each in found.items()} == {
        "train": State.PRESENT,
        "calibration": State.PRESENT,
        "test": State.WRONG_DIGEST,
        "gone": State.MISSING,
        "broken": State.UNUSABLE,
    }
    assert (found["calibration"].count, found["calibration"].size) == (2, 32)


def invoke(workspace: Path, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", *args, "--data-dir", str(workspace), "--workspace", str(workspace)])
    return result.exit_code, result.output


def test_check_prints_what_is_wrong_and_exits_with_1(workspace: Path) -> None:
    code, output = invoke(workspace, "check", "--track", "toy")
    assert code == 1
    for part in ("wrong digest", "gone.npz is missing", "broken.npz cannot be read", content_digest(IMAGES, LABELS)):
        assert part in output


def test_check_of_the_embedded_track_exits_with_0(workspace: Path) -> None:
    code, output = invoke(workspace, "check", "--track", "digits")
    assert code == 0
    assert "letters" in output
    assert "error" not in output


def test_an_unknown_track_exits_with_2_and_proposes_one(workspace: Path) -> None:
    code, output = invoke(workspace, "check", "--track", "digit")
    assert code == 2
    assert "digits" in output


def test_download_says_what_to_put_where(workspace: Path) -> None:
    (workspace / "broken.npz").unlink()
    code, output = invoke(workspace, "download", "--track", "toy")
    assert code == 0
    assert f"gone.npz cannot be fetched: put it into {workspace}" in output
    assert "good.npz is there already" in output


def test_download_reports_a_damaged_file_and_goes_on(workspace: Path) -> None:
    code, output = invoke(workspace, "download", "--track", "toy")
    assert code == 2
    assert "broken.npz cannot be read" in output
    assert "gone.npz cannot be fetched" in output


def test_download_asks_for_the_files_of_every_set_of_a_track(workspace: Path) -> None:
    own = "\n".join(f"{name}: {{source: npz, args: {{file: {name}.npz}}}}" for name in ("train", "calibration", "test"))
    outliers = "outliers:\n  - {source: npz, args: {file: outliers.npz}}"
    ood = "ood:\n  first: {source: npz, args: {file: first.npz}}\n  second: {source: npz, args: {file: second.npz}}"
    head = "name: toy\nsummary: small\nshape: [1, 4, 4]\nclasses: 6"
    (workspace / "datasets" / "toy.yaml").write_text("\n".join([head, own, ood, outliers]))
    _, said = invoke(workspace, "download", "--track", "toy")
    for name in ("train", "calibration", "test", "first", "second", "outliers"):
        assert f"{name}.npz" in said


def test_without_a_name_every_track_is_meant_and_names_may_be_joined_by_commas(workspace: Path) -> None:
    found = Catalog(workspace)
    assert [card.name for card in _cards(found, None)] == list(found.names(Kind.TRACK))
    assert [card.name for card in _cards(found, ["toy, digits", "mnist"])] == ["toy", "digits", "mnist"]
