"""Scores whose fit lacks something on a track: left out of `all`, refused by name."""

import re

import numpy as np
import pytest
import yaml
from toy_runs import bench

from bench.datasets.base import content_digest
from bench.evaluation.store import Store

REASONS = {
    "gram": r"left out of track 'few': gram: the network predicts class \[.*\] for no training image",
    "klm": r"left out of track 'few': klm: the network predicts class .* for no calibration image",
    "knn": r"left out of track 'few': knn: k is 50 and the bank holds 12 training images; choose a smaller k",
    "mahalanobis": r"left out of track 'few': mahalanobis: `layers: logistic` needs training outliers",
    "openmax": r"left out of track 'few': openmax, she: the network rightly predicts class",
    "rmds": r"left out of track 'few': rmds: no training image has label \[0, 1, 2, 4, 5, 6, 7, 8, 9\]",
    "she": "the network rightly predicts class 0, 1, 2, 4, 5, 6, 7, 8, 9 for no training image",
}
"""What there is too little of, with twelve random training images of one label."""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with a track on which the network of the digits stands, of few random images, all of label 3."""
    folder, sets = tmp_path_factory.mktemp("few"), {}
    rng = np.random.default_rng(5)
    for name, count in {"train": 12, "calibration": 12, "test": 4, "other": 4}.items():
        images, labels = rng.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8), np.full(count, 3)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
        sets[name] = {"source": "npz", "args": {"file": f"{name}.npz"}, "digest": content_digest(images, labels)}
    card = {
        "name": "few",
        "summary": "too few images",
        "shape": [1, 32, 32],
        "classes": 10,
        "network": "convnet-digits",
        **{name: sets[name] for name in ("train", "calibration", "test")},
        "ood": {"other": sets["other"]},
    }
    (folder / "robustood.toml").touch()
    (folder / "datasets").mkdir()
    (folder / "datasets" / "few.yaml").write_text(yaml.safe_dump(card))
    return folder


@pytest.fixture(scope="module")
def of_all(workspace):
    return run(workspace, "--detector", "all-scores", "--threat", "clean")


def run(workspace, *options):
    places = ("--workspace", workspace, "--data-dir", workspace, "--out", workspace / "runs")
    return bench("run", "--track", "few", "--quiet", *options, *places)


def test_all_scores_runs_what_can_be_fitted(of_all, workspace):
    assert of_all.exit_code == 0, of_all.stderr
    ran = {meta.detector for meta in Store(workspace / "runs").metas()}
    assert {"energy", "fdbd", "gen", "nnguide", "react", "vim"} <= ran
    assert not ran & set(REASONS)
    assert f"{len(ran)} computed, 0 from the store." in of_all.stdout


@pytest.mark.parametrize("name", REASONS)
def test_all_scores_names_what_it_leaves_out_and_why(of_all, name):
    notices = [line for line in of_all.stderr.splitlines() if line.startswith("notice: left out of track 'few': ")]
    assert len(notices) == len(REASONS) - 1, of_all.stderr
    assert any(re.search(REASONS[name], line) for line in notices), of_all.stderr


@pytest.mark.parametrize("name", REASONS)
@pytest.mark.parametrize("threats", ["pgd-l2", "pgd-l*"])
def test_a_score_that_is_named_is_refused_in_one_sentence(workspace, name, threats):
    refused = run(workspace, "--detector", name, "--threat", threats)
    assert refused.exit_code == 2, refused.stdout
    told = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and f"error: {name} x clean on few: " in told[0], refused.stderr
    assert "left out of track" not in refused.stderr


@pytest.mark.parametrize("threats", ["pgd-l2", "pgd-l*"])
def test_a_score_that_is_named_is_refused_beside_one_that_can_be_run_too(workspace, threats):
    refused = run(workspace, "--detector", "energy,klm", "--threat", threats, "--steps", "2", "--restarts", "1")
    assert refused.exit_code == 2, refused.stdout
    assert "error: klm x clean on few: " in refused.stderr
    assert "left out of track" not in refused.stderr


def test_where_nothing_can_be_fitted_the_run_is_refused(workspace):
    refused = run(workspace, "--detector", "klm*,openma?", "--threat", "clean")
    assert refused.exit_code == 2
    assert refused.stderr.count("error: ") == 2 and "2 failed" in refused.stdout
