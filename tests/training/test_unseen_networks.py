"""The two networks that only the benchmarks have are made and trained by their cards, the same way every time."""

from pathlib import Path

import pytest
import torch

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.detector_names import of_logits
from bench.datasets.base import ImageSet, TrainingData, sample_ids
from bench.detectors.loading import load_for_training
from bench.training.base import seeded
from bench.training.wanted import RECIPE

UNSEEN = Path(__file__).parent.parent.parent / "benchmarks" / "unseen"


@pytest.fixture
def grey_data() -> TrainingData:
    """Ten classes of noise, 1x32x32."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, 1, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(40) % 10
    sets = [ImageSet(name, images, labels, sample_ids(name, 40), "digest") for name in ("train", "calibration")]
    return TrainingData(sets[0], sets[1], None, 10)


@pytest.mark.parametrize("name", ["transformer-digits", "residual-fashion"])
def test_a_recipe_lowers_the_loss_and_takes_the_same_steps_again(name: str, grey_data: TrainingData) -> None:
    catalog = Catalog.find(UNSEEN)
    spec = of_logits(catalog.network(name))
    assert spec.training is not None
    kind = import_method(spec.training.recipe, catalog.workspace, RECIPE)
    args = {**spec.training.args, "steps": 12, "batch_size": 16, "lr": 1e-2}
    states = []
    for _ in range(2):
        detector = load_for_training(spec, catalog.track(spec.track), catalog)
        recipe = kind(detector, grey_data, args, seed=1)
        detector.train()
        losses = [recipe.step(number, seeded(1, number))["loss"] for number in range(12)]
        assert sum(losses[-4:]) < sum(losses[:4])
        states.append(detector.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_the_adversarial_recipe_trains_on_images_that_are_worse_and_within_its_ball(grey_data: TrainingData) -> None:
    catalog = Catalog.find(UNSEEN)
    spec = of_logits(catalog.network("residual-fashion"))
    kind = import_method(spec.training.recipe, catalog.workspace, RECIPE)
    seen = []
    for ascents in (0, 3):
        detector = load_for_training(spec, catalog.track(spec.track), catalog)
        recipe = kind(detector, grey_data, {"steps": 9, "batch_size": 16, "ascents": ascents}, seed=1)
        asked = recipe.logits
        given = []
        recipe.logits = lambda x, asked=asked, given=given: (given.append(x.detach()), asked(x))[1]
        loss = recipe.step(0, seeded(1, 0))["loss"]
        seen.append((loss, given[-1]))
    (before, start), (after, worst) = seen
    assert after > before
    assert (worst - start).abs().max() <= 2 * recipe.args.eps + 1e-6
    assert 0 <= worst.min() <= worst.max() <= 1
