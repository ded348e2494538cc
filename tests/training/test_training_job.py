from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog
from bench.detectors.weights import save_tensors
from bench.errors import WeightsError
from bench.training import job
from bench.training.runner import TrainingReport


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "train", lambda *args, **options: pytest.fail("the training began"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match=r"weights cannot be written to .*; name another folder with --out"):
        job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path / "file")


def test_a_training_takes_one_thread_unless_told_otherwise_and_gives_the_others_back(tmp_path: Path, monkeypatch):
    seen = []

    def note_threads(recipe, **options):
        seen.append(torch.get_num_threads())
        return TrainingReport({}, 0, 0, 0.0)

    monkeypatch.setattr(job, "train", note_threads)
    before = torch.get_num_threads()
    for options in ({}, {"threads": 3}):
        job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path, **options)
    assert seen == [1, 3]
    assert torch.get_num_threads() == before


def test_a_fresh_training_goes_on_from_no_checkpoint(tmp_path: Path, monkeypatch):
    found = []

    def look(recipe, *, checkpoint, **options):
        found.append(checkpoint.exists())
        return TrainingReport({}, 0, 0, 0.0)

    monkeypatch.setattr(job, "train", look)
    target = tmp_path / Catalog().detector_spec("msp", "digits").weights[-1].file
    target.parent.mkdir(parents=True, exist_ok=True)
    for fresh in (False, True):
        checkpoint = target.with_name(f"{target.stem}.checkpoint.safetensors")
        save_tensors(checkpoint, {"a": torch.zeros(1)}, {"progress": '{"identity": "x", "step": 3}'})
        job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path, fresh=fresh)
    assert found == [True, False]


@pytest.mark.parametrize("other", ["text", "tensors"])
def test_what_is_no_weights_of_the_detector_is_not_replaced(tmp_path: Path, monkeypatch, other: str):
    monkeypatch.setattr(job, "train", lambda *args, **options: pytest.fail("the training began"))
    target = tmp_path / Catalog().detector_spec("msp", "digits").weights[-1].file
    target.parent.mkdir(parents=True, exist_ok=True)
    if other == "text":
        target.write_text("mine")
    else:
        save_tensors(target, {"mine": torch.zeros(1)})
    before = target.read_bytes()
    with pytest.raises(WeightsError, match="holds no weights of this detector: move it away"):
        job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path)
    assert target.read_bytes() == before


def test_former_weights_of_the_detector_are_replaced(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "train", lambda *args, **options: TrainingReport({}, 0, 0, 0.0))
    first = job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path)
    assert job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path).sha256 == first.sha256
