"""When a training saves, tells and evaluates, by a clock of the test's own; and the small parts of all recipes."""

import hashlib
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from bench.datasets.base import TrainingData
from bench.detectors.msp import MSP, MSPParams
from bench.errors import DataError
from bench.randomness import derive_seed
from bench.training import runner
from bench.training.augment import (
    AugmentArgs,
    OutlierAugmentArgs,
    affine,
    augmented,
    augmented_outliers,
    dihedral,
    flip,
)
from bench.training.base import Recipe, batches, pick, required_outliers, seeded
from bench.training.classifier import Classifier
from bench.training.runner import train
from bench.training.wanted import RECIPE, _is_recipe


class Counting(Recipe):
    """Takes steps that do nothing, and counts what it is asked for."""

    def prepare(self):
        self.asked = []

    @property
    def total_steps(self):
        return self.args_steps

    args_steps = 6

    def step(self, number, generator):
        self.asked.append(f"step {number}")
        return {"loss": number + 0.123456}

    def evaluate(self):
        self.asked.append("evaluate in evaluation mode" if not self.detector.training else "evaluate")
        return {"ID accuracy": 0.5}

    def finish(self, progress=None):
        self.asked.append("finish")


@pytest.fixture
def recipe(toy_data, tiny_network):
    detector = MSP(tiny_network(2), shape=(1, 8, 8), classes=2, params=MSPParams())
    return Counting(detector, toy_data, {}, seed=3)


@pytest.fixture
def clock(monkeypatch):
    """A clock on which every look takes a second."""

    def put(step=1.0):
        now = [0.0 - step]

        def monotonic():
            now[0] += step
            return now[0]

        monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=monotonic))

    return put


def told(recipe, tmp_path):
    heard = []
    report = train(recipe, checkpoint=tmp_path / "c.safetensors", identity="x", progress=lambda *one: heard.append(one))
    return heard, report


def test_progress_is_told_once_more_than_so_many_seconds_have_passed(recipe, tmp_path, clock):
    clock()
    heard, report = told(recipe, tmp_path)
    assert [number for number, _, _ in heard] == [3, 4, 6]  # the evaluation took two seconds
    assert heard[0] == (3, 6, "loss 2.123  ID accuracy 0.5")
    assert heard[-1] == (6, 6, "loss 5.123  ID accuracy 0.5")
    assert report.figures == {"loss": 5.123456, "ID accuracy": 0.5}
    assert (report.steps, report.resumed_at) == (6, 0)
    # the start, three steps, one evaluation (two looks), three steps, the end
    assert report.seconds == 9.0


def test_an_evaluation_takes_its_share_of_the_time_and_no_more(recipe, tmp_path, clock):
    clock()
    recipe.args_steps = 60
    heard, _ = told(recipe, tmp_path)
    # it took two seconds, a twentieth of the forty that must pass before the next
    marks = [number for number, each in enumerate(recipe.asked) if each.startswith("evaluate")]
    assert marks[1] - marks[0] == 41
    assert all(each != "evaluate" for each in recipe.asked)
    assert recipe.asked[-2:] == ["finish", "evaluate in evaluation mode"]
    assert [number for number, _, _ in heard] == [3, *range(4, 44, 3), *range(44, 60, 3), 60]
    assert recipe.detector.training


def test_checkpoints_are_kept_once_more_than_so_many_seconds_have_passed(recipe, tmp_path, clock, monkeypatch):
    clock(10.0)
    saved = []
    monkeypatch.setattr(runner, "_save", lambda recipe, checkpoint, identity, number: saved.append(number))
    monkeypatch.setattr(runner, "REPORT_EVERY_S", 1e9)
    told(recipe, tmp_path)
    assert saved == [3, 6]
    assert (runner.CHECKPOINT_EVERY_S, runner.EVALUATION_SHARE) == (20.0, 0.05)


def test_a_recipe_without_steps_draws_no_weights_and_tells_one_of_one(recipe, tmp_path):
    recipe.args_steps = 0
    before = {name: value.clone() for name, value in recipe.detector.state_dict().items()}
    heard, report = told(recipe, tmp_path)
    assert heard == [(1, 1, "ID accuracy 0.5")]
    assert all(torch.equal(before[name], value) for name, value in recipe.detector.state_dict().items())
    assert recipe.asked == ["finish", "evaluate in evaluation mode"]
    assert report.steps == 0


def test_initial_weights_are_drawn_from_the_seed_alone(recipe, tmp_path):
    told(recipe, tmp_path)
    drawn = {name: value.clone() for name, value in recipe.detector.state_dict().items()}
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(3, "weights"))
        for module in recipe.detector.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    assert all(torch.equal(drawn[name], value) for name, value in recipe.detector.state_dict().items())


def test_a_digest_is_of_names_types_shapes_and_bits_in_order():
    tensors = {"b": torch.tensor([1.0, 2.0]), "a": torch.zeros(0, 3), "c": torch.tensor(5)}
    content = (
        b"a torch.float32 (0, 3)\n"
        + b"b torch.float32 (2,)\n"
        + tensors["b"].numpy().tobytes()
        + b"c torch.int64 ()\n"
        + tensors["c"].numpy().tobytes()
    )
    assert runner._content_sha256(tensors) == hashlib.sha256(content).hexdigest()


# --------------------------------------------------------------------------- what recipes share


def test_a_batch_is_drawn_with_replacement_in_the_unit_range(toy_data):
    x, y = pick(toy_data.train, 100, seeded(1, "a"), torch.device("cpu"))
    index = torch.randint(40, (100,), generator=torch.Generator().manual_seed(derive_seed(1, "a")))
    assert torch.equal(x, toy_data.train.images[index] / 255.0)
    assert torch.equal(y, toy_data.train.labels[index])


def test_batches_are_the_whole_set_in_order(toy_data):
    found = list(batches(toy_data.train, 16, torch.device("cpu")))
    assert [len(x) for x, _ in found] == [16, 16, 8]
    assert torch.equal(torch.cat([x for x, _ in found]), toy_data.train.images / 255.0)
    assert torch.equal(torch.cat([y for _, y in found]), toy_data.train.labels)


def test_outliers_that_are_missing_are_one_sentence(toy_data):
    assert required_outliers(toy_data, "GAT") is toy_data.outliers
    without = TrainingData(toy_data.train, toy_data.calibration, None, 2)
    with pytest.raises(DataError, match="GAT needs training outliers and this track has none; name some"):
        required_outliers(without, "GAT")


def test_what_a_recipe_is():
    assert [_is_recipe(found) for found in (Counting, Recipe, Counting.step, 3, int)] == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert RECIPE is not None


def test_the_learning_rate_is_linear_then_a_cosine(toy_data, tiny_network):
    detector = MSP(tiny_network(2), shape=(1, 8, 8), classes=2, params=MSPParams())
    recipe = Classifier(detector, toy_data, {"steps": 200, "lr": 0.1}, seed=0)
    assert [recipe.lr_at(number) for number in (0, 5, 10, 105)] == pytest.approx([0.0, 0.05, 0.1, 0.05])
    assert recipe.lr_at(200) == pytest.approx(0.0, abs=1e-12)
    assert recipe.lr_at(153) == pytest.approx(0.05 * (1 + math.cos(math.pi * (153 / 200 - 0.05) / 0.95)))
    right = (recipe.logits(toy_data.calibration.pixels()).argmax(1) == toy_data.calibration.labels).double().mean()
    assert recipe.evaluate() == {"ID accuracy": pytest.approx(float(right))}


# --------------------------------------------------------------------------- augmentation


@pytest.fixture
def drawn(monkeypatch):
    """Lets `torch.rand` in the module give numbers of the test's own."""

    def put(*tables):
        given = [torch.tensor(table) for table in tables]
        monkeypatch.setattr("bench.training.augment.torch.rand", lambda *shape, generator: given.pop(0))

    return put


PICTURE = torch.arange(16.0).reshape(1, 1, 4, 4) / 16


def test_a_shift_is_in_pixels_and_draws_are_symmetric(drawn):
    drawn([[0.5, 0.5, 1.0, 0.5]])
    right = affine(PICTURE, None, degrees=0.0, shift=1.0, scale=0.0)
    assert torch.allclose(right[..., :3], PICTURE[..., 1:], atol=1e-5) and right[..., 3].abs().max() < 1e-5
    drawn([[0.5, 0.5, 0.5, 0.0]])
    down = affine(PICTURE, None, degrees=0.0, shift=2.0, scale=0.0)
    assert torch.allclose(down[..., 2:, :], PICTURE[..., :2, :], atol=1e-5) and down[..., :2, :].abs().max() < 1e-5


def test_a_rotation_is_in_degrees_and_both_ways(drawn):
    for draw, turns in ((1.0, 1), (0.0, -1)):
        drawn([[draw, 0.5, 0.5, 0.5]])
        turned = affine(PICTURE, None, degrees=90.0, shift=0.0, scale=0.0)
        assert torch.allclose(turned, torch.rot90(PICTURE, turns, (2, 3)), atol=1e-5)


def test_a_scale_enlarges_about_the_centre(drawn):
    ramp = torch.linspace(-1, 1, 9)[None, None, None, :].expand(1, 1, 9, 9)
    drawn([[0.5, 1.0, 0.5, 0.5]])
    larger = affine(ramp, None, degrees=0.0, shift=0.0, scale=0.25)
    assert torch.allclose(larger[0, 0, 4], ramp[0, 0, 4] / 1.25, atol=1e-5)


@pytest.mark.parametrize("draws", [(0.9, 0.2, 0.7, 0.1), (0.1, 0.9, 0.4, 0.8), (1.0, 0.0, 0.5, 0.5)])
def test_turned_enlarged_and_moved_an_image_is_sampled_where_the_inverse_map_says(drawn, draws):
    """Each pixel takes the place that a turn, then a division by the zoom, then a shift lead to, in half-widths."""
    side, (angle, zoom, across, down) = 9, (2 * draw - 1 for draw in draws)
    picture = torch.rand(1, 1, side, side, generator=seeded(5))
    drawn([list(draws)])
    found = affine(picture, None, degrees=30.0, shift=1.5, scale=0.4)[0, 0]
    angle, zoom, pixels = math.radians(30.0 * angle), 1 + 0.4 * zoom, picture[0, 0].double().numpy()
    centres = (np.arange(side) + 0.5) * 2 / side - 1
    x, y = np.meshgrid(centres, centres)
    from_x = (math.cos(angle) * x - math.sin(angle) * y) / zoom + 1.5 * across * 2 / side
    from_y = (math.sin(angle) * x + math.cos(angle) * y) / zoom + 1.5 * down * 2 / side
    places = [((part + 1) * side - 1) / 2 for part in (from_y, from_x)]
    expected = map_coordinates(np.pad(pixels, 2), [place + 2 for place in places], order=1)
    assert np.allclose(found.numpy(), expected, atol=1e-5)


def test_a_mirrored_half_is_below_one_half(drawn):
    drawn([0.49, 0.5, 0.51])
    three = PICTURE.expand(3, 1, 4, 4)
    assert torch.equal(flip(three, None), torch.cat([PICTURE.flip(-1), PICTURE, PICTURE]))


@pytest.mark.parametrize("across", [0.4, 0.6])
@pytest.mark.parametrize("down", [0.4, 0.6])
@pytest.mark.parametrize("turned", [0.4, 0.6])
def test_a_turn_is_a_mirror_across_then_one_down_then_a_transposition(drawn, across, down, turned):
    drawn([across], [down], [turned])
    expected = PICTURE.flip(-1) if across < 0.5 else PICTURE
    expected = expected.flip(-2) if down < 0.5 else expected
    assert torch.equal(dihedral(PICTURE, None), expected.transpose(-1, -2) if turned < 0.5 else expected)


def test_mirrors_and_turns_are_drawn_where_they_are_asked_for_and_nothing_else(drawn):
    still = {"degrees": 0.0, "shift": 0.0, "scale": 0.0}
    drawn([[0.1] * 4])
    assert torch.allclose(augmented(PICTURE, AugmentArgs(**still), None), PICTURE, atol=1e-5)
    drawn([[0.1] * 4], [0.1])
    assert torch.allclose(augmented(PICTURE, AugmentArgs(**still, mirror=True), None), PICTURE.flip(-1), atol=1e-5)
    drawn([0.6], [0.6], [0.1], [[0.1] * 4])
    turned = augmented_outliers(PICTURE, OutlierAugmentArgs(**still), None)
    assert torch.allclose(turned, PICTURE.transpose(-1, -2), atol=1e-5)
    drawn([[0.1] * 4])
    alike = augmented_outliers(PICTURE, OutlierAugmentArgs(**still, turn_outliers=False), None)
    assert torch.allclose(alike, PICTURE, atol=1e-5)
