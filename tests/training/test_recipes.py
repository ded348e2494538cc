import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.detectors.base import Detector, DetectorInfo, DetectorParams
from bench.detectors.gat import GAT as GATDetector
from bench.detectors.msp import MSP, MSPParams
from bench.detectors.oe import OE, OEParams
from bench.errors import DataError
from bench.training.augment import affine, dihedral
from bench.training.base import seeded
from bench.training.classifier import Classifier
from bench.training.gat import GAT
from bench.training.outlier_exposure import OutlierExposure

SHAPE = (1, 8, 8)


class LinearD(Detector):
    """A score that is linear in the pixels: the ascent of Algorithm 3 is known in closed form."""

    info = DetectorInfo(classifier=False)

    def __init__(self, weight: Tensor) -> None:
        super().__init__(None, shape=SHAPE, classes=2, params=DetectorParams())
        self.weight = torch.nn.Parameter(weight)

    def score(self, x: Tensor, *, noise: object = None) -> Tensor:
        return (x * self.weight).flatten(1).sum(1)


def msp(tiny_network) -> MSP:
    return MSP(tiny_network(2), shape=SHAPE, classes=2, params=MSPParams())


def run(recipe, steps: int) -> None:
    for number in range(steps):
        recipe.step(number, seeded(recipe.seed, "step", number))


def test_the_classifier_learns_two_classes(toy_data, tiny_network):
    recipe = Classifier(msp(tiny_network), toy_data, {"steps": 60, "batch_size": 16, "lr": 0.02}, seed=0)
    run(recipe, 60)
    assert recipe.evaluate()["ID accuracy"] == 1.0


def test_outlier_exposure_makes_outliers_uncertain(toy_data, tiny_network):
    detector = OE(tiny_network(2), shape=SHAPE, classes=2, params=OEParams())
    recipe = OutlierExposure(detector, toy_data, {"steps": 150, "batch_size": 16, "lr": 0.02}, seed=0)
    run(recipe, 150)
    detector.eval()
    with torch.no_grad():
        inside = detector.score(toy_data.calibration.pixels())
        outside = detector.score(toy_data.outliers.pixels())
    assert inside.min() > outside.max()


def test_the_exposure_term_is_cross_entropy_to_the_uniform_distribution():
    logits = torch.randn(5, 7, dtype=torch.float64)
    uniform = torch.full((5, 7), 1 / 7, dtype=torch.float64)
    assert torch.allclose(logits.logsumexp(1) - logits.mean(1), cross_entropy(logits, uniform, reduction="none"))


def test_recipes_with_outliers_say_so_where_there_are_none(toy_data, tiny_network):
    bare = dataclasses.replace(toy_data, outliers=None)
    with pytest.raises(DataError, match="needs training outliers"):
        OutlierExposure(OE(tiny_network(2), shape=SHAPE, classes=2, params=OEParams()), bare, {}, seed=0)


def test_ascent_takes_k_steps_of_the_given_length_and_no_projection(toy_data):
    weight = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    recipe = GAT(LinearD(weight), toy_data, {"step_size": 0.7}, seed=0)
    x = torch.zeros(3, *SHAPE)
    expected = x + 5 * 0.7 * weight / weight.norm()
    moved = recipe.ascend(x, 5)
    assert torch.allclose(moved, expected, atol=1e-5)
    assert moved.min() < 0  # outside the box, as the algorithm allows


def test_k_grows_from_zero_to_its_maximum(toy_data):
    recipe = GAT(LinearD(torch.ones(SHAPE)), toy_data, {"max_k": 3, "iterations": 2, "last_iterations": 4}, seed=0)
    assert [recipe.k_at(i) for i in range(recipe.total_steps)] == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 3, 3]


def test_a_discriminator_learns_to_reject_outliers_that_ascend(toy_data, tiny_network):
    detector = GATDetector(tiny_network(1), shape=SHAPE, classes=2, params=DetectorParams())
    args = {"max_k": 2, "iterations": 40, "last_iterations": 40, "step_size": 0.1, "batch_size": 16, "lr": 0.01}
    recipe = GAT(detector, toy_data, args, seed=0)
    run(recipe, recipe.total_steps)
    detector.eval()
    assert recipe.evaluate()["AUROC"] == 1.0
    ascended = recipe.ascend(toy_data.outliers.pixels(), 2)
    assert detector.score(toy_data.calibration.pixels()).median() > detector.score(ascended).median()


def test_ascent_leaves_parameters_trainable(toy_data):
    recipe = GAT(LinearD(torch.ones(SHAPE)), toy_data, {}, seed=0)
    recipe.ascend(torch.zeros(1, *SHAPE), 2)
    assert all(p.requires_grad for p in recipe.detector.parameters())


def test_affine_without_amounts_is_the_identity():
    x = torch.rand(4, 1, 8, 8)
    same = affine(x, torch.Generator().manual_seed(0), degrees=0, shift=0, scale=0)
    assert torch.allclose(same, x, atol=1e-5)


def test_affine_moves_every_image_by_its_own_amounts():
    x = torch.zeros(2, 1, 8, 8)
    x[:, :, 3:5, 3:5] = 1
    moved = affine(x, torch.Generator().manual_seed(0), degrees=20, shift=2, scale=0.1)
    assert not torch.allclose(moved[0], moved[1])


def test_dihedral_turns_reach_all_eight_symmetries_and_change_no_pixel_value():
    x = torch.rand(1, 1, 3, 3, generator=torch.Generator().manual_seed(2)).expand(400, -1, -1, -1)
    turned = dihedral(x, torch.Generator().manual_seed(0))
    assert len(torch.unique(turned.flatten(1), dim=0)) == 8
    assert torch.equal(turned.flatten(1).sort(1).values, x.flatten(1).sort(1).values)


def test_an_empty_set_of_outliers_is_none(toy_data, tiny_network):
    empty = dataclasses.replace(
        toy_data.outliers, images=toy_data.outliers.images[:0], labels=toy_data.outliers.labels[:0]
    )
    bare = dataclasses.replace(toy_data, outliers=empty)
    with pytest.raises(DataError, match="needs training outliers"):
        GAT(LinearD(torch.ones(SHAPE)), bare, {}, seed=0)


def test_gat_traces_outliers_as_they_are_and_after_the_ascent_of_the_last_step(toy_data, tiny_network):
    detector = GATDetector(tiny_network(1), shape=(1, 8, 8), classes=2, params=DetectorParams())
    recipe = GAT(detector, toy_data, {"max_k": 3, "iterations": 1, "batch_size": 4, "step_size": 2.0}, seed=0)
    at_first = recipe.traced()
    assert at_first["AUROC after ascent"] == at_first["AUROC"] == recipe.evaluate()["AUROC"]  # K is 0
    recipe.k = 3
    assert recipe.traced()["AUROC after ascent"] < at_first["AUROC"]  # the same D scores them higher
