"""What the command line makes of ID sets with wrong labels, without labels, and with class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cli.app import app

CARD = """name: halves
summary: Two bright halves against noise.
shape: [3, 16, 16]
classes: 2
train: {{source: {id}, stop: 20}}
calibration: {{source: {id}, start: 20, stop: 40}}
test: {{source: {id}, start: 40}}
ood:
  noise: {{source: npz, args: {{file: ood.npz}}}}
"""
DETECTOR = """import torch


def logits(x):
    return 10 * torch.stack([x[..., :8].mean((1, 2, 3)), x[..., 8:].mean((1, 2, 3))], 1)
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "robustood.toml").touch()
    (tmp_path / "labels_of_halves.py").write_text(DETECTOR)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "ood.npz", images=rng.integers(0, 256, (20, 16, 16, 3)).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def halves(folder: Path, labels: np.ndarray | None, *, npz: bool = True) -> None:
    """60 images of two classes, as a file or in class folders, and the card for them."""
    rng = np.random.default_rng(1)
    true = np.arange(60) % 2
    images = rng.integers(0, 60, (60, 16, 16, 3)).astype(np.uint8)
    images[true == 0, :, :8] += 150
    images[true == 1, :, 8:] += 150
    source = "npz, args: {file: id.npz}"
    if npz:
        np.savez(folder / "id.npz", images=images, **({} if labels is None else {"labels": labels}))
    else:
        for k, image in enumerate(images):
            path = folder / "pictures" / ("left", "right")[true[k]] / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        source = '"folder:pictures", args: {shape: [3, 16, 16]}'
    (folder / "datasets" / "halves.yaml").write_text(CARD.format(id=source))


def bench(*args: str) -> tuple[int, str]:
    common = ["--track", "halves", "--data-dir", "."]
    result = CliRunner().invoke(app, [*args, *common], env={"COLUMNS": "200"})
    return result.exit_code, result.output


def run(*args: str) -> tuple[int, str]:
    return bench("run", "-q", "--detector", "callable:labels_of_halves:logits", *args)


FOOL = ("--side", "fool", "--threat", "pgd-l2", "--eps", "0.5", "--steps", "2", "--restarts", "1")


@pytest.mark.parametrize("labels", [np.arange(60) % 2 + 1, np.arange(60) % 2 * 5])
def test_labels_outside_the_classes_stop_a_run_with_one_sentence(workspace: Path, labels: np.ndarray) -> None:
    halves(workspace, labels)
    for code, output in (run("--threat", "clean"), run(*FOOL)):
        assert code == 2
        assert "lie outside 0 to 1, the labels of 2 classes" in output
        assert "ID accuracy" not in output
    code, output = bench("data", "check")
    assert code == 1
    assert "set 'test' of track 'halves' has labels" in output


def test_without_labels_no_id_accuracy_is_shown_and_the_reason_is_noted(workspace: Path) -> None:
    halves(workspace, None)
    code, output = run("--threat", "clean")
    assert code == 0
    assert "ID accuracy" not in output.replace("there is no ID accuracy", "")
    assert "test: no image has a label" in output


def test_without_labels_side_fool_says_that_there_are_none(workspace: Path) -> None:
    halves(workspace, None)
    code, output = run(*FOOL)
    assert code != 0
    assert "the set 'test' has no labels" in output
    assert "nothing is left to fool" not in output


def test_a_set_of_the_first_class_alone_has_labels_and_is_fooled(workspace: Path) -> None:
    halves(workspace, np.zeros(60, np.int64))
    code, output = run(*FOOL)
    assert code == 0, output


def test_without_labels_a_walk_between_classes_says_that_there_are_none(workspace: Path) -> None:
    halves(workspace, None)
    code, output = run("--side", "between", "--threat", "interpolation")
    assert code != 0
    assert "the set 'test' has no labels" in output


def test_class_folders_are_the_classes(workspace: Path) -> None:
    halves(workspace, None, npz=False)
    code, output = run("--threat", "clean")
    assert code == 0
    assert "ID accuracy" in output
    assert "1.000" in output
    assert "labels are the class folders in sorted order: 0 left, 1 right." in output
    code, output = run(*FOOL)
    assert code == 0


def test_the_check_of_data_counts_and_names_what_is_not_taken(workspace: Path) -> None:
    halves(workspace, None, npz=False)
    (workspace / "pictures" / "a.txt").touch()
    (workspace / "pictures" / "left" / "0.png").write_bytes(b"?")
    card = workspace / "datasets" / "halves.yaml"
    card.write_text(card.read_text().replace("16, 16]}", "16, 16], max_images: 50}"))
    code, output = bench("data", "check")
    assert code == 0
    assert "20 of 60" in output
    for sentence in (
        "halves, test: 50 of 60 images are taken (max_images), by a fixed shuffle.",
        "1 file passed over, not images by their suffix: a.txt.",
        "labels are the class folders in sorted order: 0 left, 1 right.",
    ):
        assert sentence in output
