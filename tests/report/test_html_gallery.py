"""Galleries show the pixels that the cell keeps."""

import base64
import io

import numpy as np
import pytest
from html_cells import make_cell, page_of
from PIL import Image

from bench.evaluation.results import Cell
from bench.report.html.gallery import gallery_of

PLENTY = 10**6


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).astype(float)


def no_starts(name, positions, ids):
    return [None] * len(positions)


@pytest.fixture
def cell(make_meta):
    return make_cell(make_meta(thresholds={"calibration_tpr95": 1.0}))


def test_an_attacked_image_is_shown_as_it_is_kept(cell):
    gallery = gallery_of(cell, no_starts, each=2, letters=PLENTY)
    assert [image.set for image in gallery.images] == ["letters", "uniform"]
    for shown, kept in zip(gallery.images, cell.arrays["images"], strict=True):
        assert np.abs(pixels(shown.attacked) - 255 * kept[0]).max() <= 0.5
        assert (shown.start, shown.difference) == ("", "")


def test_the_difference_is_magnified_until_its_largest_pixel_is_black_or_white(cell):
    asked = []

    def starts(name, positions, ids):
        asked.append((name, positions, ids))
        row = ["letters", "uniform"].index(name)
        return [cell.arrays["images"][row] - np.float32([[[0.1, 0, -0.2], [0, 0, 0]]])]

    shown = gallery_of(cell, starts, each=2, letters=PLENTY).images[0]
    assert pixels(shown.difference) == pytest.approx(255 * np.array([[0.75, 0.5, 0.0], [0.5, 0.5, 0.5]]), abs=1)
    assert shown.factor == "2.5"
    assert asked[0] == ("letters", [0], [12])  # position and id of the sample that the image belongs to


def test_an_image_that_did_not_move_has_a_grey_difference(cell):
    starts = [cell.arrays["images"][0], cell.arrays["images"][1]]
    shown = gallery_of(cell, lambda name, *_: [starts[name == "uniform"]], each=2, letters=PLENTY).images
    assert all((pixels(image.difference) == 128).all() and image.factor == "1" for image in shown)


def test_scores_norm_and_decision_stand_below_an_image(cell):
    row = cell.samples.iloc[12]
    shown = gallery_of(cell, no_starts, each=2, letters=PLENTY).images[0]
    assert (shown.norm, shown.clean_score, shown.score) == ("0.5", f"{row.clean_score:.4g}", f"{row.score:.4g}")
    words = ["accepted" if score >= 1.0 else "rejected" for score in (row.clean_score, row.score)]
    assert shown.outcome == " → ".join(words)


def test_without_one_threshold_for_all_classes_there_is_no_decision(make_meta):
    cell = make_cell(make_meta(thresholds={"train_tpr95/0": 1.0, "train_tpr95/1": 2.0}))
    assert gallery_of(cell, no_starts, each=2, letters=PLENTY).images[0].outcome == ""


def test_colour_images_keep_their_colours(make_meta):
    made = make_cell(make_meta())
    image = np.zeros((1, 3, 2, 2), np.float32)
    image[0, 2] = 1.0
    blue = Cell(made.meta, made.samples, {"images": image, "image_rows": np.array([12])})
    assert pixels(gallery_of(blue, no_starts, each=1, letters=PLENTY).images[0].attacked)[0, 0].tolist() == [0, 0, 255]


def test_a_gallery_stops_before_the_page_becomes_too_large(cell):
    one = gallery_of(cell, no_starts, each=1, letters=PLENTY).images[0].size
    assert len(gallery_of(cell, no_starts, each=1, letters=one).images) == 1
    assert gallery_of(cell, no_starts, each=1, letters=one - 1) is None


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((2, 5, 2, 2), np.float32), "image_rows": np.array([12, 18])},
        {"images": np.zeros((2, 4), np.float32), "image_rows": np.array([12, 18])},
        {"images": np.zeros((2, 1, 2, 2), np.float32), "image_rows": np.array([12])},
        {"images": np.zeros((1, 1, 2, 2), np.float32), "image_rows": np.array([10**6])},
        {"image_rows": np.array([12])},
        {},
    ],
)
def test_arrays_that_do_not_fit_are_not_shown(make_meta, arrays):
    made = make_cell(make_meta())
    assert gallery_of(Cell(made.meta, made.samples, arrays), no_starts, each=2, letters=PLENTY) is None


def test_pixels_that_are_not_numbers_are_black(make_meta):
    made = make_cell(make_meta())
    made.arrays["images"][:] = np.nan
    assert (pixels(gallery_of(made, no_starts, each=1, letters=PLENTY).images[0].attacked) == 0).all()


def test_no_gallery_is_drawn_where_none_is_asked_for(cell):
    assert page_of(cell, each=0).galleries == ()
