"""Grey figures on pictures of another source: how they are laid over each other, and which picture is drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bench.cards.track import FormSpec, TrackCard
from bench.datasets.base import RawImages, content_digest
from bench.datasets.check import State, check_track
from bench.datasets.forms import form_name, inner_forms, is_pinned, is_present
from bench.datasets.sources import load_source
from bench.errors import DataError

CARDS = [
    TrackCard.model_validate(
        yaml.safe_load((Path(__file__).parents[2] / "datasets" / f"bg-mnist-{blur}.yaml").read_text(encoding="utf-8"))
    )
    for blur in (0, 1, 5)
]
FIGURES = np.zeros((6, 8, 8, 1), dtype=np.uint8)
FIGURES[:, 2:4] = 255
FIGURES[:, 4] = 51
LABELS = np.arange(6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six figures, and ten pictures of one grey each: 0, 20, 40 ..."""
    np.savez(tmp_path / "figures.npz", images=FIGURES, labels=LABELS)
    pictures = np.repeat(np.arange(0, 200, 20, dtype=np.uint8), 16 * 16 * 3).reshape(10, 16, 16, 3)
    np.savez(tmp_path / "pictures.npz", images=pictures, labels=np.zeros(10, dtype=int))
    return tmp_path


def inner(name: str, **more: Any) -> dict[str, Any]:
    return {"source": "npz", "args": {"file": f"{name}.npz"}, **more}


def args(**changed: Any) -> dict[str, Any]:
    return {"of": inner("figures"), "behind": inner("pictures"), "seed": 5} | changed


def laid(folder: Path, **changed: Any) -> RawImages:
    return load_source("background", args(**changed), folder)


def test_figures_lie_as_ink_on_a_picture_and_keep_their_labels(folder):
    found = laid(folder)
    assert found.images.shape == (6, 8, 8, 1)
    assert found.labels.tolist() == LABELS.tolist()
    for image in found.images[..., 0]:
        ground = int(image[0, 0])
        assert ground % 20 == 0
        assert (image[[0, 1, 5, 6, 7]] == ground).all()
        assert (image[2:4] == 255).all()
        assert (image[4] == round(51 + 0.8 * ground)).all()


def test_the_pictures_are_drawn_by_the_seed_from_the_part_that_is_named(folder):
    np.savez(folder / "figures.npz", images=np.zeros((300, 8, 8, 1), dtype=np.uint8), labels=np.zeros(300, dtype=int))
    found = laid(folder, behind_start=3, behind_stop=6).images
    assert set(found.flatten().tolist()) == {60, 80, 100}
    assert np.array_equal(found, laid(folder, behind_start=3, behind_stop=6).images)
    assert not np.array_equal(found, laid(folder, behind_start=3, behind_stop=6, seed=6).images)
    assert set(laid(folder).images.flatten().tolist()) == set(range(0, 200, 20))


def test_a_part_of_the_figures_can_be_taken(folder):
    assert laid(folder, start=2, count=3).labels.tolist() == [2, 3, 4]
    assert laid(folder, start=4).labels.tolist() == [4, 5]


def test_the_pictures_alone_have_no_figures_and_no_labels(folder):
    found = laid(folder, figures=False)
    assert (found.images == found.images[:, :1, :1]).all()
    assert found.labels.tolist() == [-1] * 6
    assert np.array_equal(found.images[:, 0, 0], laid(folder).images[:, 0, 0])


def test_a_picture_is_made_grey_reduced_by_averages_and_blurred(folder):
    picture = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    picture[:, :, 8:, 0] = 200  # red on the right: 0.299 * 200
    picture[:, :, 7] = 120  # one column, half of one of the figure's
    np.savez(folder / "pictures.npz", images=picture, labels=np.zeros(1, dtype=int))
    sharp = laid(folder, figures=False).images[0, ..., 0]
    assert sharp[0].tolist() == [0, 0, 0, 60, 60, 60, 60, 60]
    blurred = [laid(folder, figures=False, blur=blur).images[0, 0, :, 0].astype(int) for blur in (0.5, 1, 3)]
    steps = [np.abs(np.diff(row)).max() for row in (sharp[0].astype(int), *blurred)]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == 4


def test_the_figures_are_not_blurred(folder):
    found = laid(folder, blur=5).images[..., 0]
    assert (found[:, 2:4] == 255).all()
    assert (found[:, 1] < 255).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"start": 5, "count": 2}, "asks for figures 5 to 7 of 'npz', which has 6: ask for fewer."),
        ({"start": 6}, "asks for figures 6 to 6"),
        ({"behind_stop": 11}, "asks for pictures 0 to 11 of 'npz', which has 10: ask for fewer."),
        ({"behind_start": 4, "behind_stop": 4}, "asks for pictures 4 to 4"),
        ({"blur": 33}, "argument 'blur' (given: 33)"),
        ({"of": inner("pictures")}, "needs grey figures"),
        ({"behind": inner("gone")}, "gone.npz is missing"),
        ({"behind": inner("pictures", digest="1" * 64)}, f"source 'npz' has content {'{found}'}, expected {'1' * 64}"),
        ({"behind": inner("pictures", digest="1")}, "argument 'behind.digest' (given: '1')"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(folder, changed, words):
    pictures = load_source("npz", {"file": "pictures.npz"}, folder)
    with pytest.raises(DataError) as error:
        laid(folder, **changed)
    assert words.format(found=content_digest(pictures.images, pictures.labels)) in str(error.value)


def test_both_sources_must_be_there_and_name_the_form(folder):
    form = FormSpec(source="background", args=args())
    assert is_present(form, folder)
    assert form_name(form) == "figures.npz and pictures.npz"
    (folder / "figures.npz").unlink()
    assert not is_present(form, folder)


def test_it_is_pinned_where_all_that_it_is_made_from_is():
    figures, pictures = (inner(name, digest="1" * 64) for name in ("figures", "pictures"))
    assert is_pinned(FormSpec(source="background", args=args(of=figures, behind=pictures)))
    assert not is_pinned(FormSpec(source="background", args=args(of=figures)))


def test_what_is_wrong_with_an_inner_source_is_left_to_be_said_by_the_outer_one(folder):
    bad = FormSpec(source="background", args=args(of={"source": 3}))
    assert [form.args["file"] for form in inner_forms(bad)] == ["pictures.npz"]
    with pytest.raises(DataError, match=r"argument 'of.source' \(given: 3\)"):
        load_source("background", bad.args, folder)


# --------------------------------------------------------------------------- the cards


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_no_picture_is_behind_digits_of_two_sets_and_ood_figures_lie_on_those_of_the_test(card):
    parts = [
        (spec.args.get("behind_start", 0), spec.args.get("behind_stop")) for spec in (card.train, card.calibration)
    ]
    assert parts == [(0, 40000), (40000, 45000)]
    lying = [card.test, *(spec for spec in card.ood.values() if spec.source == "background")]
    assert {(spec.args["behind_start"], spec.args.get("behind_stop")) for spec in lying} == {(45000, None)}
    assert len({spec.args["seed"] for spec in (*lying, card.train, card.calibration)}) == len(lying) + 2


@pytest.mark.parametrize(("card", "blur"), list(zip(CARDS, (0, 1, 5), strict=True)))
def test_every_set_of_a_card_has_its_blur(card, blur):
    specs = [card.train, card.calibration, card.test, *card.ood.values()]
    forms = [form for spec in specs for form in spec.forms if form.source == "background"]
    assert len(forms) == 16
    assert {form.args["blur"] for form in forms} == {blur}
    assert all(is_pinned(form) for form in forms)


@pytest.mark.data
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_data_at_hand_makes_what_the_cards_declare(card):
    found = list(check_track(card, None))
    if any(each.state is State.MISSING for each in found):
        pytest.skip("MNIST or CIFAR-10 is not here")
    assert {each.name: each.problem for each in found if each.state is not State.PRESENT} == {}
