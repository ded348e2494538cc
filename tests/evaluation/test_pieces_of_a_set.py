"""A set is attacked in pieces that bound the memory, and no number depends on where they are cut."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from bench.datasets.base import ImageSet
from bench.evaluation import attacked_sets
from bench.evaluation import pieces as cutting
from bench.evaluation.pieces import pieces
from bench.evaluation.pixels import Pixels
from bench.threat_models.external.base import External

RUNS = {
    "evade": ("labelled", "pgd", {}),
    "both": ("labelled", "pgd", {"side": "both"}),
    "to-the-end": ("net", "pgd", {"early_stop": False}),
    "random": ("random", "pgd", {}),
    "transferred": ("labelled", "transferred", {}),
    "fool": ("labelled", "fooling", {"side": "fool"}),
    "leaving": ("net", "rogue-ball", {}),
    "unconfirmed": ("net", "rogue-stopped", {}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_cell_is_the_same_bits_whatever_the_pieces(cells, monkeypatch, name):
    detector, threat, options = RUNS[name]
    eps = None if threat.startswith("rogue") else "0.6"
    whole = cells(detector, threat, eps, micro_batch=8, **options)[-1]
    monkeypatch.setattr(cutting, "_HELD_BYTES", 1)
    cut = cells(detector, threat, eps, micro_batch=8, **options)[-1]
    pd.testing.assert_frame_equal(whole.samples, cut.samples, check_exact=True)
    assert whole.arrays.keys() == cut.arrays.keys()
    for array, values in whole.arrays.items():
        np.testing.assert_array_equal(values, cut.arrays[array], err_msg=array)
    assert whole.meta.notes == cut.meta.notes
    assert whole.meta.model_copy(update={"seconds": 0.0}) == cut.meta.model_copy(update={"seconds": 0.0})


def test_pieces_are_whole_micro_batches_within_the_bound_and_cover_everything():
    found = pieces(1000, (3, 224, 224), 8)
    assert [found[0].start, found[-1].stop] == [0, 1000]
    assert all(one.stop == other.start for one, other in itertools.pairwise(found))
    sizes = [piece.stop - piece.start for piece in found]
    assert all(size % 8 == 0 for size in sizes[:-1])
    assert all(4 * 3 * 224 * 224 * size <= 8 * 2**20 for size in sizes)
    assert pieces(10, (3, 4096, 4096), 8) == [slice(0, 8), slice(8, 10)]


def test_images_that_influence_each_other_stay_together():
    assert External.couples_images
    assert pieces(1000, (3, 224, 224), 8, whole=True) == [slice(0, 1000)]


def test_progress_goes_on_from_piece_to_piece(catalog, planned, monkeypatch):
    from bench.evaluation.engine import run_plan
    from bench.evaluation.store import MemoryStore

    monkeypatch.setattr(cutting, "_HELD_BYTES", 1)
    monkeypatch.setattr(attacked_sets, "_SECONDS_BETWEEN_FIGURES", 0.0)
    heard = []
    plan = planned("net", "pgd", "0.3", micro_batch=8)
    list(run_plan(plan, MemoryStore(), catalog, progress=lambda cell, share, auroc: heard.append((share, auroc))))
    shares = [share for share, auroc in heard if auroc is not None]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0) and len(set(shares)) > 10
    aurocs = [auroc for _, auroc in heard if auroc is not None]
    assert aurocs[-1] == min(aurocs)


def test_pixels_of_several_sets_are_those_of_one_row():
    parts = [
        ImageSet(
            str(count),
            torch.randint(0, 256, (count, 1, 2, 2), dtype=torch.uint8),
            torch.zeros(count),
            torch.zeros(count),
            "",
        )
        for count in (3, 1, 4)
    ]
    row, pixels = torch.cat([part.pixels() for part in parts]), Pixels(parts, torch.device("cpu"))
    assert len(pixels) == 8 and pixels.shape == (1, 2, 2)
    for first in range(9):
        for last in range(first, 10):
            assert torch.equal(pixels[first:last], row[first:last])
    assert torch.equal(pixels[:], row)
