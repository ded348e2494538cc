"""How the images of a cell are cut for several processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluation.planned import Part

counts = st.integers(1, 12)
images = st.integers(1, 2000)
batches = st.integers(1, 200)


@given(images, counts, batches)
def test_every_image_is_in_exactly_one_share(number, count, micro_batch):
    found = [range(number)[Part(share, count).rows(number, micro_batch)] for share in range(count)]
    assert [position for share in found for position in share] == list(range(number))


@given(images, counts, batches)
def test_no_share_has_two_micro_batches_more_than_another_one(number, count, micro_batch):
    sizes = [len(range(number)[Part(share, count).rows(number, micro_batch)]) for share in range(count)]
    assert max(sizes) - min(sizes) < 2 * micro_batch


@pytest.mark.parametrize(("number", "sizes"), [(120, (64, 56)), (128, (64, 64)), (300, (160, 140)), (600, (256, 344))])
def test_few_images_are_cut_in_quarters_of_a_micro_batch(number, sizes):
    assert tuple(len(range(number)[Part(share, 2).rows(number, 128)]) for share in (0, 1)) == sizes
