"""The cards of real data; the images themselves where ROBUSTOOD_DATA names a folder that has them."""

import os
from pathlib import Path

import pytest
import yaml

from bench.cards.track import SetKind, TrackCard
from bench.datasets.check import State, check_track
from bench.datasets.forms import default_data_dir, is_pinned
from bench.datasets.track import Track

FOLDER = Path(__file__).parents[2] / "datasets"
CARDS = {
    name: TrackCard.model_validate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
    for name in ("mnist", "fashion-mnist", "cifar10", "cifar100")
}
CORRUPTED = TrackCard.model_validate(yaml.safe_load((FOLDER / "cifar10-corrupted.yaml").read_text()))
needs_data = pytest.mark.skipif("ROBUSTOOD_DATA" not in os.environ, reason="ROBUSTOOD_DATA names no data folder")


@pytest.mark.parametrize("name", CARDS)
def test_every_set_declares_one_digest(name: str) -> None:
    specs = Track(CARDS[name], Path("nowhere")).specs().values()
    assert {len([digest for form in spec.forms for digest in form.digests()]) for spec in specs} == {1}
    assert all(is_pinned(form) for spec in specs for form in spec.forms)


@pytest.mark.parametrize("name", CARDS)
def test_digests_are_known_without_files(name: str) -> None:
    track = Track(CARDS[name], Path("nowhere"))
    assert len(track.digest("outliers")) == 64
    declared = {
        each: [digest for form in spec.forms for digest in form.digests()] for each, spec in track.specs().items()
    }
    assert {each: [track.digest(each)] for each in track.specs()} == declared


@pytest.mark.parametrize("name", CARDS)
def test_calibration_is_the_end_of_the_training_file(name: str) -> None:
    card = CARDS[name]
    assert card.calibration.args == card.train.args
    assert card.calibration.start == card.train.stop
    assert card.calibration.stop is None


@pytest.mark.parametrize("name", CARDS)
def test_no_ood_file_is_a_training_outlier(name: str) -> None:
    card = CARDS[name]
    outliers = {digest for spec in card.outliers for digest in spec.digests()}
    assert not outliers & {digest for spec in card.ood.values() for digest in spec.digests()}


def test_the_shifted_sets_of_corrupted_cifar10_have_one_content_in_both_forms_and_a_mean_of_their_own() -> None:
    shifted = {name: spec for name, spec in CORRUPTED.ood.items() if spec.kind is SetKind.SHIFTED}
    assert [spec.args["severity"] for spec in shifted.values()] == [1, 2, 3, 4, 5]
    assert {name for name, spec in CORRUPTED.ood.items() if spec.group == "shifted"} == set(shifted)
    assert not set(shifted) & set(CORRUPTED.natural())
    assert all(len({form.digest for form in spec.forms}) == 1 and spec.digest for spec in shifted.values())
    assert {name: spec for name, spec in CORRUPTED.ood.items() if name not in shifted} == {
        name: spec for name, spec in CARDS["cifar10"].ood.items() if spec.kind is SetKind.NATURAL
    }


def test_noise_and_patterns_are_synthetic_and_all_else_natural() -> None:
    for card in CARDS.values():
        synthetic = {name for name, spec in card.ood.items() if spec.kind is SetKind.SYNTHETIC}
        assert synthetic == {"spiral", "checkerboard", "uniform", "gaussian"}


def test_the_training_outliers_own_source_is_left_out_of_the_mean() -> None:
    assert CARDS["cifar10"].ood["tiny-imagenet"].same_source
    assert "tiny-imagenet" not in CARDS["cifar10"].natural()


def test_letters_that_look_like_digits_are_shown_and_left_out_of_the_mean() -> None:
    card = CARDS["mnist"]
    excluded = {chr(ord("A") + label - 1) for label in card.ood["letters"].exclude_labels}
    assert excluded == set("BDGILOQSZ")
    assert "letters" in card.natural()
    assert "letters-all" not in card.natural()


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("card", [*CARDS.values(), CORRUPTED], ids=lambda card: card.name)
def test_the_data_at_hand_is_what_the_cards_declare(card: TrackCard) -> None:
    found = list(check_track(card, default_data_dir()))
    assert {each.name: each.problem for each in found if each.state is not State.PRESENT} == {}


@pytest.mark.data
@needs_data
def test_no_training_outlier_is_an_ood_test_image() -> None:
    track = Track(CARDS["cifar10"])
    outliers = {image.tobytes() for image in track.set("outliers-1").images.numpy()}
    for name in CARDS["cifar10"].ood:
        assert not outliers & {image.tobytes() for image in track.set(name).images.numpy()}, name


@pytest.mark.data
@needs_data
def test_mnist_is_padded_and_not_resized() -> None:
    images = Track(CARDS["mnist"]).set("test").images
    assert int(images[..., 2:-2, 2:-2].sum()) == int(images.sum()) > 0
