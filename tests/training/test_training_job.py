import hashlib
from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog
from bench.cards.network import TrainingSpec
from bench.datasets.track import Track
from bench.detectors.weights import load_tensors, save_tensors
from bench.errors import CardError, UsageError, WeightsError
from bench.training import job
from bench.training.runner import TrainingReport


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(job, "train", lambda *args, **options: pytest.fail("the training began"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WeightsError, match=r"weights cannot be written to .*; name another folder with --out"):
        job.train_weights(Catalog(), Catalog().detector_spec("msp", "digits"), out=tmp_path / "file")


def test_a_detector_without_a_network_is_refused_in_a_sentence(tmp_path: Path):
    spec = Catalog().detector_spec("msp", "digits").model_copy(update={"network": None})
    with pytest.raises(UsageError, match=r"'msp' has no network on track 'digits', .* name `network` for the track"):
        job.train_weights(Catalog(), spec, out=tmp_path)


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


# --------------------------------------------------------------------------- what a training is told, and gives


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Trains without a step: what came of it, the recipe, and what the training was told."""
    told = []

    def note(recipe, **options):
        told.append((recipe, options))
        return TrainingReport({"loss": 1.5}, 7, 0, 0.25)

    monkeypatch.setattr(job, "train", note)

    def run(name="msp", **options):
        made = job.train_weights(Catalog(), Catalog().detector_spec(name, "digits"), out=tmp_path, **options)
        return made, *told[-1]

    return run


def test_weights_their_sha256_the_cards_and_the_report_are_given(trained, tmp_path):
    spec = Catalog().detector_spec("msp", "digits")
    made, recipe, told = trained(progress=print)
    assert made.path == tmp_path / spec.weights[-1].file and made.report.figures == {"loss": 1.5}
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    assert made.expected == spec.weights[-1].sha256 != made.sha256
    assert load_tensors(made.path).keys() == job.last_weights(recipe.detector, spec, Catalog()).keys()
    assert told["checkpoint"] == made.path.with_name(f"{made.path.stem}.checkpoint.safetensors")
    assert told["progress"] is print


def test_a_seed_that_is_given_goes_before_the_cards(trained):
    own = Catalog().detector_spec("msp", "digits").training.seed
    assert [trained(**options)[1].seed for options in ({}, {"seed": own + 5}, {"seed": 0})] == [own, own + 5, 0]


def test_a_checkpoint_is_gone_once_the_weights_are_there(trained, tmp_path):
    checkpoint = trained()[2]["checkpoint"]
    save_tensors(checkpoint, {"a": torch.zeros(1)}, {"progress": '{"identity": "x", "step": 3}'})
    trained()
    assert not checkpoint.exists()


def test_weights_without_a_folder_go_where_the_catalog_says(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(Catalog, "weights_dir_for_writing", lambda catalog: tmp_path / "deep" / "own")
    spec = Catalog().detector_spec("msp", "digits")
    assert job.train_weights(Catalog(), spec).path == tmp_path / "deep" / "own" / spec.weights[-1].file


def test_what_weights_depend_on_and_nothing_else_tells_a_checkpoint_from_another():
    catalog = Catalog()
    spec, track = catalog.detector_spec("gat", "digits"), Track(catalog.track("digits"))
    same = job._identity(spec, track, 0, 1)
    recorded = spec.recorded.model_copy(update={"clean_auroc": 0.5})
    last = spec.weights[-1].model_copy(update={"sha256": "0" * 64})
    for change in ({"recorded": recorded}, {"weights": (*spec.weights[:-1], last)}):
        assert job._identity(spec.model_copy(update=change), track, 0, 1) == same
    others = {job._identity(spec, track, 1, 1), job._identity(spec, track, 0, 2)}
    more = {"params": {"x": 1}, "training": spec.training.model_copy(update={"args": {"steps": 1}})}
    more |= {"weights": (*spec.weights[:-1], spec.weights[-1].model_copy(update={"file": "other"}))}
    for name, value in more.items():
        others.add(job._identity(spec.model_copy(update={name: value}), track, 0, 1))
    for name in ("train", "calibration", "outliers"):
        others.add(job._identity(spec, OtherSet(track, name), 0, 1))
    assert job._identity(spec, OtherSet(track, "test"), 0, 1) == same
    assert len(others) == 8 and same not in others


class OtherSet:
    """A track one of whose sets has another content."""

    def __init__(self, track, name):
        self.track, self.name = track, name

    def digest(self, name):
        return "0" * 64 if name == self.name else self.track.digest(name)


@pytest.mark.parametrize("change", [{"training": None}, {"weights": ()}])
def test_a_card_without_a_recipe_or_a_file_is_told(change):
    spec = Catalog().detector_spec("msp", "digits").model_copy(update=change)
    told = "'msp' has no training recipe for track 'digits'; `bench show msp` prints its card."
    with pytest.raises(UsageError) as caught:
        job.train_weights(Catalog(), spec)
    assert str(caught.value) == told


def test_wrong_arguments_of_a_recipe_are_told_with_the_field():
    spec = Catalog().detector_spec("msp", "digits")
    wrong = spec.model_copy(update={"training": spec.training.model_copy(update={"args": {"steps": "many"}})})
    with pytest.raises(CardError) as caught:
        job.train_weights(Catalog(), wrong)
    assert str(caught.value) == (
        "training.args of 'msp' on 'digits': 'steps' is 'many': Input should be a valid integer, unable to parse "
        "string as an integer; correct the card."
    )


def test_a_recipe_gets_its_arguments_and_the_tracks_images():
    catalog = Catalog()
    spec, track = catalog.detector_spec("msp", "digits"), Track(catalog.track("digits"))
    own = spec.training.args | {"steps": 3}
    recipe = job.build_recipe(
        spec.model_copy(update={"training": TrainingSpec(recipe=spec.training.recipe, args=own)}),
        track,
        catalog,
        seed=9,
    )
    assert (recipe.args.steps, recipe.seed) == (3, 9)
    assert recipe.data.train.digest == track.set("train").digest
