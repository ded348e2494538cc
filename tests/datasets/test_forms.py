"""Sets that are accepted in several forms: the first that is present is used, named, and has a digest of its own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cards.track import FormSpec, SetSpec, TrackCard
from bench.cli.app import app
from bench.cli.show import _forms as show_forms
from bench.datasets.base import content_digest
from bench.datasets.check import State, check_track
from bench.datasets.decoding import WrongContentError
from bench.datasets.forms import chosen_form, declared_digest, form_name
from bench.datasets.sources._files import MissingDataError
from bench.datasets.track import Track
from bench.errors import DataError
from bench.evaluation.keys import set_digests, track_hash
from bench.evaluation.plan import plan
from tests.datasets.small_cifar import SmallCifar, shrink_cifar

OFFICIAL = FormSpec(source="torchvision", args={"dataset": "CIFAR10", "train": False})
FOLDER = FormSpec(source="folder:pictures", args={"shape": [3, 32, 32]})
SMALL = SmallCifar.of("CIFAR10", 3)
COPY_IMAGES = SMALL.images["test"] ^ np.uint8(1)
COPY_DIGEST = content_digest(COPY_IMAGES, np.array(SMALL.labels["test"]))
COPY = FormSpec(source="npz", args={"file": "copy.npz"}, digest=COPY_DIGEST)
UNIFORM = {"source": "uniform", "args": {"count": 4, "seed": 1, "shape": [3, 32, 32]}}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shrink_cifar(monkeypatch, SMALL)
    monkeypatch.setenv("ROBUSTOOD_DATA", str(tmp_path))


def put_official(folder: Path) -> None:
    (folder / "cifar-10-python.tar.gz").write_bytes(SMALL.archive)


def put_copy(folder: Path) -> None:
    np.savez(folder / "copy.npz", images=COPY_IMAGES, labels=np.array(SMALL.labels["test"]))


def put_folder(folder: Path) -> None:
    (folder / "pictures").mkdir()
    for k, image in enumerate(SMALL.images["test"]):
        Image.fromarray(image).save(folder / "pictures" / f"{k}.png")


def card(*forms: FormSpec) -> TrackCard:
    first, *also = forms
    spec = {**first.model_dump(), "also": [form.model_dump() for form in also]}
    return TrackCard.model_validate(
        {
            "name": "toy", "summary": "small", "shape": [3, 32, 32], "classes": 10,
            "train": UNIFORM, "calibration": UNIFORM, "test": spec, "ood": {"noise": UNIFORM},
        }
    )  # fmt: skip


THREE = (OFFICIAL, COPY, FOLDER)


def test_forms_are_tried_in_the_order_of_the_card(tmp_path):
    spec = card(*THREE).test
    found = []
    for put in (put_folder, put_copy, put_official):
        put(tmp_path)
        found.append(form_name(chosen_form(spec, tmp_path)))
    assert found == ["folder:pictures", "copy.npz", "torchvision's CIFAR10"]
    assert form_name(chosen_form(card(*reversed(THREE)).test, tmp_path)) == "folder:pictures"


def test_what_is_used_is_loaded_named_and_has_its_own_digest(tmp_path):
    digests = {}
    for put, name in ((put_folder, "folder:pictures"), (put_copy, "copy.npz"), (put_official, "torchvision's CIFAR10")):
        put(tmp_path)
        track = Track(card(*THREE), tmp_path)
        assert track.set("test").form == name
        digests[name] = track.digest("test")
        assert digests[name] == track.set("test").digest == set_digests(card(*THREE), tmp_path)["test"]
    assert len(set(digests.values())) == 3 and digests["copy.npz"] == COPY_DIGEST


def test_a_set_of_one_form_names_none(tmp_path):
    put_copy(tmp_path)
    assert Track(card(COPY), tmp_path).set("test").form == ""


def test_cells_of_different_copies_have_different_keys(tmp_path, monkeypatch):
    folder = tmp_path / "workspace"
    (folder / "datasets").mkdir(parents=True)
    (folder / "scorer.py").write_text("def score(x):\n    return x.mean(dim=(1, 2, 3))\n")
    import yaml

    from bench.cards.catalog import Catalog

    (folder / "datasets" / "toy.yaml").write_text(yaml.safe_dump(card(*THREE).model_dump(mode="json")))
    keys = []
    for put in (put_copy, put_official):
        put(tmp_path)
        planned = plan(Catalog(folder), ["callable:scorer:score"], ["clean"], None, ["toy"], data_dir=tmp_path)
        keys.append(planned[0].key)
    assert len(set(keys)) == 2


def test_a_form_of_fixed_content_is_not_loaded_to_tell_its_digest(tmp_path):
    (tmp_path / "copy.npz").write_bytes(b"damaged")
    assert declared_digest(card(*THREE).test, tmp_path) == COPY_DIGEST
    put_official(tmp_path)
    assert declared_digest(card(*THREE).test, tmp_path) is None  # only its files can tell


def test_a_damaged_form_is_not_passed_over_for_the_next_one(tmp_path):
    put_copy(tmp_path)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(SMALL.archive[:500])
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz is damaged") as error:
        Track(card(*THREE), tmp_path).set("test")
    assert not isinstance(error.value, MissingDataError)


def test_the_digest_of_one_form_is_not_accepted_for_another(tmp_path):
    labels = np.array(SMALL.labels["test"])
    pinned = OFFICIAL.model_copy(update={"digest": content_digest(SMALL.images["test"], labels)})
    np.savez(tmp_path / "copy.npz", images=SMALL.images["test"], labels=labels)
    with pytest.raises(WrongContentError, match=r"in the form copy\.npz has content"):
        Track(card(pinned, COPY), tmp_path).set("test")
    put_official(tmp_path)
    assert Track(card(pinned, COPY), tmp_path).set("test").digest == pinned.digest
    with pytest.raises(WrongContentError, match=r"in the form torchvision's CIFAR10 has content"):
        Track(card(OFFICIAL.model_copy(update={"digest": COPY_DIGEST}), COPY), tmp_path).set("test")


def test_where_none_is_there_all_are_named_and_where_they_were_looked_for(tmp_path):
    with pytest.raises(MissingDataError) as error:
        Track(card(*THREE), tmp_path).set("test")
    assert f"torchvision's CIFAR10 or copy.npz or folder:pictures is missing, looked for in {tmp_path}" in str(
        error.value
    )


def test_the_part_that_is_taken_is_the_same_in_every_form(tmp_path):
    put_official(tmp_path)
    base = card(*THREE)
    cut = base.model_copy(update={"test": base.test.model_copy(update={"start": 1, "stop": 3})})
    found = Track(cut, tmp_path).set("test")
    assert np.array_equal(found.images.numpy(), SMALL.images["test"][1:3].transpose(0, 3, 1, 2))


def with_part(base: TrackCard, **part: int) -> TrackCard:
    """The card with a part of its own for the second form of the test set."""
    content = base.model_dump()
    content["test"] |= {"start": 1, "also": [content["test"]["also"][0] | part]}
    return TrackCard.model_validate(content)


@pytest.mark.parametrize(
    "part, taken",
    [
        ({"start": 2}, slice(2, None)),
        ({"stop": 1}, slice(0, 1)),  # from the first image on, not from the set's start
        ({"start": 0, "stop": 2}, slice(0, 2)),
        ({}, slice(1, None)),
    ],
)
def test_a_form_with_a_part_of_its_own_is_cut_by_that_alone(tmp_path, part, taken):
    put_copy(tmp_path)
    cut = with_part(card(OFFICIAL, COPY), **part)
    found = Track(cut, tmp_path).set("test")
    assert np.array_equal(found.images.numpy(), COPY_IMAGES[taken].transpose(0, 3, 1, 2))
    put_official(tmp_path)
    found = Track(cut, tmp_path).set("test")
    assert np.array_equal(found.images.numpy(), SMALL.images["test"][1:].transpose(0, 3, 1, 2))


def test_what_was_kept_of_one_part_is_not_taken_for_another(tmp_path):
    put_copy(tmp_path)
    counts = [len(Track(with_part(card(OFFICIAL, COPY), stop=stop), tmp_path).set("test")) for stop in (1, 2, 1)]
    assert counts == [1, 2, 1]


# --------------------------------------------------------------------------- outputs


def test_the_check_names_the_form_and_an_open_digest(tmp_path):
    states = []
    for put in (lambda folder: None, put_copy, put_official):
        put(tmp_path)
        states.append({each.name: each for each in check_track(card(*THREE), tmp_path)}["test"])
    assert [each.state for each in states] == [State.MISSING, State.PRESENT, State.PRESENT]
    assert [each.form for each in states] == [
        "torchvision's CIFAR10 or copy.npz or folder:pictures",
        "copy.npz (2 of 3)",
        "torchvision's CIFAR10 (1 of 3)",
    ]
    assert not any("digest" in note for note in states[1].notes)
    assert states[2].notes[0] == (
        f"the card gives no digest for torchvision's CIFAR10; its content here is {states[2].digest}."
    )


def test_show_names_the_form_that_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTOOD_DATA", str(tmp_path))
    assert "# test: none of its forms is there" in CliRunner().invoke(app, ["show", "cifar10"]).output
    put_official(tmp_path)
    said = CliRunner().invoke(app, ["show", "cifar10"]).output
    assert "# test: torchvision's CIFAR10\n" in said and "# cifar100: none of its forms is there" in said
    assert not [line for line in CliRunner().invoke(app, ["show", "digits"]).output.splitlines() if "# test" in line]


def test_show_names_the_form_of_every_set_of_the_card_under_the_set_s_own_name(tmp_path, monkeypatch):
    put_copy(tmp_path)
    several = card(*THREE).test
    other = SetSpec(source="npz", args={"file": "gone.npz"}, also=several.also[-1:])
    only = SetSpec(source="npz", args={"file": "copy.npz"})
    sets = {"train": other, "calibration": several, "ood": {"far": other, "near": only}, "outliers": [only, several]}
    monkeypatch.setenv("ROBUSTOOD_DATA", str(tmp_path))
    assert show_forms(card(*THREE).model_copy(update=sets)) == [
        "train: none of its forms is there",
        "calibration: copy.npz",
        "test: copy.npz",
        "far: none of its forms is there",
        "outliers-2: copy.npz",
    ]


def test_validate_says_which_form_accepts_anything(tmp_path):
    import yaml

    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(card(*THREE).model_dump(mode="json")))
    said = CliRunner().invoke(app, ["validate", str(path)])
    assert said.exit_code == 0
    assert "no digest is given for folder:pictures, so any content is accepted" in " ".join(said.output.split())
    path.write_text(path.read_text().replace("folder:pictures", "no-such-source"))
    assert "unknown source 'no-such-source'" in CliRunner().invoke(app, ["validate", str(path)]).output


# --------------------------------------------------------------------------- hashes


def test_a_card_without_other_forms_keeps_its_hash():
    spec = SetSpec(source="npz", args={"file": "copy.npz"}, digest=COPY_DIGEST)
    assert set(spec.model_dump()) == {
        "source", "args", "digest", "start", "stop", "exclude_labels", "crop", "pad", "grey"
    }  # fmt: skip
    assert track_hash(card(COPY)) != track_hash(card(COPY, OFFICIAL))


def test_a_card_whose_forms_have_no_parts_keeps_its_hash_and_a_part_changes_it():
    several = card(OFFICIAL, COPY)
    assert [set(form) for form in several.test.model_dump()["also"]] == [{"source", "args", "digest"}]
    assert len({track_hash(each) for each in (with_part(several), with_part(several, stop=2))}) == 2


def test_a_row_may_have_the_content_of_any_form():
    pinned = FOLDER.model_copy(update={"digest": "1" * 64})
    assert card(COPY, pinned).test.accepted() == (COPY_DIGEST, "1" * 64)
    assert card(COPY, OFFICIAL).test.accepted() == ()  # whatever torchvision's md5 let through
