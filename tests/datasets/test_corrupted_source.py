"""Images of another source under corruptions: which image has which, how strong, and always the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bench.cards.track import FormSpec, OtherForm, SetSpec, TrackCard
from bench.cli.app import app
from bench.datasets.check import State, check_track
from bench.datasets.download import read_by
from bench.datasets.forms import form_name, is_pinned, is_present
from bench.datasets.sources import load_source
from bench.datasets.sources._depends import dependence
from bench.datasets.sources.corrupted import CORRUPTIONS, CorruptedArgs
from bench.datasets.track import Track
from bench.errors import DataError
from tests.datasets.small_cifar import SmallCifar, shrink_cifar

SMALL = SmallCifar.of("CIFAR10", 3)
COPY = {"source": "npz", "args": {"file": "small.npz"}}
OFFICIAL = {"source": "torchvision", "args": {"dataset": "CIFAR10", "train": False}}


def smooth(count: int = 12) -> np.ndarray:
    """(N, 32, 32, 3) of soft colours between 60 and 190, where no corruption is lost by clipping."""
    coarse = np.random.default_rng(2).integers(60, 190, size=(count, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR)) for one in coarse])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "small.npz", images=smooth(), labels=np.arange(12))
    return tmp_path


def args(**changed: Any) -> dict[str, Any]:
    return {"of": COPY, "count": 12, "severity": 3, "seed": 5} | changed


def corrupted(folder: Path, **changed: Any) -> np.ndarray:
    return load_source("corrupted", args(**changed), folder).images


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) root mean square over an image's values."""
    return np.sqrt(((first.astype(float) - second.astype(float)) ** 2).mean(axis=(1, 2, 3)))


def test_every_kind_in_turn_changes_every_image_and_keeps_its_label(folder):
    found = load_source("corrupted", args(), folder)
    assert found.images.shape == (12, 32, 32, 3)
    assert found.images.dtype == np.uint8
    assert found.labels.tolist() == list(range(12))
    assert (distance(found.images, smooth()) > 0).all()
    for number, kind in enumerate(CORRUPTIONS):
        alone = corrupted(folder, kinds=[kind])
        assert np.array_equal(alone[number], found.images[number]), kind


def test_the_same_seed_gives_the_same_images_and_another_one_other_noise(folder):
    assert np.array_equal(corrupted(folder), corrupted(folder))
    assert not np.array_equal(
        corrupted(folder, kinds=["gaussian-noise"]), corrupted(folder, kinds=["gaussian-noise"], seed=6)
    )


def test_an_image_has_the_same_noise_whatever_part_it_is_taken_with(folder):
    whole = corrupted(folder, kinds=["shot-noise"])
    assert np.array_equal(corrupted(folder, kinds=["shot-noise"], start=4, count=3), whole[4:7])


@pytest.mark.parametrize("kind", [kind for kind in CORRUPTIONS if kind != "saturate"])  # which first takes colour away
def test_each_severity_changes_more_than_the_one_below(folder, kind):
    images = smooth()
    if kind == "pixelate":  # smooth images lose little, and more or less of it as the squares fall
        images = np.random.default_rng(3).integers(60, 190, size=images.shape, dtype=np.uint8)
        np.savez(folder / "small.npz", images=images, labels=np.arange(12))
    far = [distance(corrupted(folder, kinds=[kind], severity=k), images).mean() for k in range(1, 6)]
    assert far == sorted(far)
    assert len(set(far)) == 5


def saturation(images: np.ndarray) -> float:
    return float(np.mean([np.asarray(Image.fromarray(one).convert("HSV"))[..., 1].mean() for one in images]))


def test_saturation_is_taken_away_at_the_first_two_severities_and_added_at_the_others(folder):
    found = [saturation(corrupted(folder, kinds=["saturate"], severity=k)) for k in range(1, 6)]
    plain = saturation(smooth())
    assert found[1] < found[0] < plain < found[2] < found[3] < found[4]


def test_noise_has_the_declared_size(folder):
    grey = np.full((4, 32, 32, 3), 128, dtype=np.uint8)
    np.savez(folder / "small.npz", images=grey, labels=np.zeros(4, dtype=int))
    pixels = {kind: corrupted(folder, kinds=[kind], severity=5, count=4) / 255.0 for kind in CORRUPTIONS}
    # 12,288 values: standard errors of a deviation are 0.6 % of it, of a share of 7 % 0.23 points.
    assert pixels["gaussian-noise"].std() == pytest.approx(0.10, rel=0.03)
    assert pixels["shot-noise"].std() == pytest.approx(np.sqrt(128 / 255 / 50), rel=0.03)
    assert (pixels["impulse-noise"] != 128 / 255).mean() == pytest.approx(0.07, abs=0.01)
    assert (pixels["impulse-noise"] == 1).mean() == pytest.approx(0.035, abs=0.007)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"count": 13}, "asks for images 0 to 13 of 'npz', which has 12: ask for fewer."),
        ({"start": 11, "count": 2}, "asks for images 11 to 13"),
        ({"severity": 6}, "argument 'severity' (given: 6)"),
        ({"kinds": ["fog"]}, "argument 'kinds.0' (given: 'fog')"),
        ({"kinds": []}, "argument 'kinds'"),
        ({"of": {"source": "os:system"}}, "argument 'of.source' (given: 'os:system')"),
        ({"of": {"source": "nothing"}}, "unknown source 'nothing'"),
        ({"of": {"source": "digits", "args": {"split": "test"}}}, "needs images of 3 channels"),
        ({"of": {"source": "npz", "args": {"file": "gone.npz"}}}, "gone.npz is missing, looked for in"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(folder, changed, words):
    with pytest.raises(DataError) as error:
        corrupted(folder, **changed)
    assert words in str(error.value)


# --------------------------------------------------------------------------- in a card


def spec() -> SetSpec:
    """Of the official files, or else of a copy."""
    copy = {"source": "corrupted", "args": args(count=2)}
    return SetSpec.model_validate({"source": "corrupted", "args": args(count=2, of=OFFICIAL), "also": [copy]})


def card() -> TrackCard:
    part = {"source": "uniform", "args": {"count": 4, "seed": 1, "shape": [3, 32, 32]}}
    own = spec().model_dump() | {"kind": "shifted", "group": "shifted"}
    return TrackCard.model_validate(
        {
            "name": "toy", "summary": "small", "shape": [3, 32, 32], "classes": 10,
            "train": part, "calibration": part, "test": part, "ood": {"noise": part, "shaken": own},
        }
    )  # fmt: skip


def test_a_shifted_set_enters_no_mean_of_ood_sets():
    assert card().natural() == ("noise",)
    assert not card().ood["shaken"].counts


def test_it_is_there_where_what_it_is_made_from_is_and_is_called_by_that(folder, monkeypatch):
    shrink_cifar(monkeypatch, SMALL)
    (folder / "small.npz").unlink()
    official, copy = spec().forms
    assert not is_present(official, folder)
    assert not is_present(copy, folder)
    missing = {each.name: each for each in check_track(card(), folder)}["shaken"]
    assert missing.state is State.MISSING
    assert "torchvision's CIFAR10 or small.npz is missing" in missing.problem
    np.savez(folder / "small.npz", images=smooth(), labels=np.arange(12) % 10)
    found = Track(card(), folder).set("shaken")
    assert found.form == form_name(copy) == "small.npz"
    (folder / "cifar-10-python.tar.gz").write_bytes(SMALL.archive)
    assert Track(card(), folder).set("shaken").form == form_name(official) == "torchvision's CIFAR10"


def test_it_is_pinned_by_its_digest_or_by_what_it_is_made_from():
    official, copy = spec().forms
    assert is_pinned(official)
    assert not is_pinned(copy)
    assert is_pinned(copy.model_copy(update={"digest": "1" * 64}))
    assert not is_pinned(FormSpec(source="corrupted", args=args(of={"source": "npz", "args": {"file": "a.npz"}})))


def test_what_was_decoded_is_not_taken_for_another_content_of_the_file(folder):
    copy = spec().forms[1]
    before = dependence(spec(), copy, folder)
    assert before == dependence(spec(), copy, folder)
    np.savez(folder / "small.npz", images=smooth() ^ np.uint8(1), labels=np.arange(12))
    assert dependence(spec(), copy, folder) != before


def test_what_is_fetched_for_it_is_what_it_is_made_from():
    (needed,) = read_by(spec())
    assert [(form.source, form.args) for form in needed.forms] == [
        (each["source"], each["args"]) for each in (OFFICIAL, COPY)
    ]
    plain = SetSpec(source="npz", args={"file": "a.npz"}, also=(OtherForm(source="npz", args={"file": "b.npz"}),))
    assert list(read_by(plain)) == [plain]


def test_the_download_names_the_file_that_must_be_put_there(folder, tmp_path):
    (tmp_path / "own" / "datasets").mkdir(parents=True)
    (tmp_path / "own" / "robustood.toml").write_text('[workspace]\nname = "own"\n')
    content = card().model_dump(mode="json")
    content["ood"]["shaken"] |= {"args": args(of={"source": "npz", "args": {"file": "gone.npz"}}), "also": []}
    import yaml

    (tmp_path / "own" / "datasets" / "toy.yaml").write_text(yaml.safe_dump(content))
    given = ["data", "download", "--track", "toy", "--data-dir", str(folder), "--workspace", str(tmp_path / "own")]
    said = CliRunner().invoke(app, given).output
    assert "gone.npz cannot be fetched: put it into" in said


def test_the_default_kinds_are_all_of_them():
    assert set(CorruptedArgs.model_validate(args()).kinds) == set(CORRUPTIONS)


def test_files_that_the_other_source_passes_over_stay_counted_and_named(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(smooth()[0]).save(tmp_path / "photos" / name / "a.png")
    (tmp_path / "photos" / "dogs" / "notes.txt").write_text("no image")
    form = {"source": f"folder:{tmp_path / 'photos'}", "args": {"shape": [3, 32, 32]}}
    found = load_source("corrupted", {"of": form, "count": 2, "severity": 1, "seed": 0}, tmp_path)
    assert len(found.skipped) == 1 and "notes.txt" in found.skipped[0]
    assert found.class_names == ("cats", "dogs") and found.available is None


def test_arguments_of_a_source_of_somebody_s_own_are_not_looked_into(tmp_path):
    form = FormSpec(source="mine:load", args={"raw": {"source": "npz", "args": {"file": "gone.npz"}}})
    assert is_present(form, tmp_path) and "gone" not in form_name(form)
