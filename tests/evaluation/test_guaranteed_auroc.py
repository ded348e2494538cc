import numpy as np
import pytest
import torch
from tiny_world import Certified
from torch import nn

import bench
from bench.cards.threat import Norm
from bench.datasets.base import ImageSet
from bench.detectors.base import Detector
from bench.errors import CellError
from bench.evaluation.certificates import certified_bounds
from bench.evaluation.engine import CellFailure
from bench.evaluation.images import Images
from bench.metrics import auroc


def scores(cell, name):
    return cell.samples[cell.samples["set"] == name]["clean_score"].to_numpy(np.float64)


def test_the_guaranteed_auroc_is_that_of_the_bounds_against_the_clean_id_images(cells):
    clean, attacked = cells("certified", "fgm", 0.6)
    expected = {name: auroc(scores(clean, "test"), scores(clean, name) + 0.6 / 6) for name in ("near", "far", "noise")}
    found = {name: figures.guaranteed_auroc for name, figures in attacked.meta.sets.items()}
    assert found == pytest.approx(expected, abs=1.01 / (60 * 30))  # the bounds are float32: a pair may be a tie
    assert attacked.meta.mean.guaranteed_auroc == pytest.approx((found["near"] + found["far"]) / 2)
    assert 0.5 < attacked.meta.mean.guaranteed_auroc < clean.meta.mean.clean_auroc


@pytest.mark.parametrize("early_stop", [True, False])
def test_no_attack_is_below_the_guarantee_and_the_optimal_one_reaches_it(cells, early_stop):
    _, attacked = cells("certified", "fgm", 0.6, early_stop=early_stop)
    for name in ("near", "far"):  # their pixels are further from 0 than the gradient step is long
        figures = attacked.meta.sets[name]
        assert figures.guaranteed_auroc <= figures.auroc
        assert figures.auroc == pytest.approx(figures.guaranteed_auroc, abs=2e-3)  # one in 60 x 30 pairs at a clipping


def test_there_is_no_guarantee_without_a_radius_without_a_bound_and_for_attacked_id_images(cells):
    clean, _ = cells("certified", "fgm")
    _, other_norm = cells("certified", "pgd-inf")
    _, alarm = cells("certified", "fgm", side="alarm")
    _, uncertified = cells("net", "fgm")
    for cell in (clean, other_norm, alarm, uncertified):
        assert cell.meta.mean.guaranteed_auroc is None
        assert {figures.guaranteed_auroc for figures in cell.meta.sets.values()} == {None}


def test_an_attack_above_the_bound_fails_the_cell_and_says_that_the_certificate_is_wrong(outcomes):
    clean, attacked = outcomes("overclaiming", "fgm")
    assert not isinstance(clean, CellFailure)
    assert isinstance(attacked, CellFailure)
    assert "an attack went below the guarantee: 30 of 30 images of 'near'" in attacked.sentence
    assert "the certificate is wrong" in attacked.sentence


def test_a_bound_that_is_no_number_is_one_sentence(outcomes):
    _, attacked = outcomes("no-bound", "fgm")
    assert isinstance(attacked, CellFailure)
    assert "the bound of 30 of 30 images of 'near' is NaN" in attacked.sentence


@pytest.mark.parametrize(
    ("score", "above", "refused"), [(-0.5, 1e-4, False), (-0.5, 1e-3, True), (-1e3, 5e-3, False), (-1e3, 2e-2, True)]
)
def test_a_score_may_lie_a_thousandth_of_the_iqr_and_a_rounding_above_its_bound_and_takes_its_place(
    planned, score, above, refused
):
    """The slack is 1e-3 of an IQR of 0.5, and 1e-5 of the score's size: 5e-4 at -0.5 and about 1e-2 at -1000."""

    class Constant(Certified):
        def bound(self, x, norm, eps):
            return torch.full((len(x),), score)

    _, cell = planned("certified", "fgm", 0.6)
    detector = Constant(None, shape=(1, 6, 6), classes=2, params=Constant.Params())
    near = ImageSet("near", torch.zeros(3, 1, 6, 6, dtype=torch.uint8), torch.zeros(3), torch.arange(3), digest="")
    images = Images(cell.track, near, near, {"near": near})
    attacked = {"near": np.full(3, score + above)}
    if refused:
        with pytest.raises(CellError, match="3 of 3 images of 'near' score above"):
            certified_bounds(cell, detector, images, attacked, iqr=0.5)
    else:
        assert certified_bounds(cell, detector, images, attacked, iqr=0.5)["near"] == pytest.approx(score + above)


class Module(nn.Module):
    """A score with a bound and a density, and no `Detector`."""

    def score(self, x):
        return -x.flatten(1).mean(1)

    def bound(self, x, norm, eps):
        return self.score(x) + eps / x[0].numel() ** 0.5 if norm is Norm.L2 else None

    def bits_per_dim(self, x):
        return torch.full((len(x),), 1.5)


def test_bound_and_density_of_any_module_are_used_from_python(catalog):
    found = bench.evaluate(Module(), "fgm", "tiny", eps=0.3, workspace=catalog.workspace)
    clean, attacked = (cell.meta for cell in found.cells)
    assert clean.bits_per_dim == 1.5
    assert attacked.mean.clean_auroc > attacked.mean.auroc >= attacked.mean.guaranteed_auroc > 0.5
    assert found.table()["guaranteed_auroc"].notna().sum() == 4  # three sets and their mean


def test_a_module_without_a_bound_has_no_guarantee(catalog):
    class Bare(nn.Module):
        def score(self, x):
            return -x.flatten(1).mean(1)

    found = bench.evaluate(Bare(), "fgm", "tiny", eps=0.3, workspace=catalog.workspace)
    assert found.cells[1].meta.mean.guaranteed_auroc is None
    assert not issubclass(Bare, Detector)
