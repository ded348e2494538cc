"""Which batch shape a cell is computed with."""

import pytest
import torch
import yaml
from torch import nn
from typer.testing import CliRunner

import bench
from bench.cards.catalog import Catalog
from bench.cards.detector import default_micro_batch
from bench.cards.track import TrackCard
from bench.cli.app import app
from bench.evaluation.pieces import batch_of_a_search
from bench.evaluation.plan import plan


def shapes(root, **options):
    return [cell.ingredients.micro_batch for cell in plan(Catalog(root), ["net"], ["pgd"], "0.3", ["tiny"], **options)]


def test_the_detectors_card_says_in_which_batches_it_is_scored_and_a_request_wins(write_world):
    root = write_world()
    assert shapes(root) == [128, 128]
    card = root / "detectors/net.yaml"
    content = yaml.safe_load(card.read_text())
    card.write_text(yaml.safe_dump({**content, "tracks": {"tiny": {"micro_batch": 16}}}))
    assert shapes(root) == [16, 16]
    assert shapes(root, micro_batch=8) == [8, 8]


def test_another_batch_shape_is_another_key_of_the_same_detector(write_world):
    root = write_world()
    first = plan(Catalog(root), ["net"], ["pgd"], "0.3", ["tiny"])[1]
    other = plan(Catalog(root), ["net"], ["pgd"], "0.3", ["tiny"], micro_batch=16)[1]
    assert first.key != other.key
    assert first.ingredients.detector_hash == other.ingredients.detector_hash


@pytest.mark.parametrize(
    ("shape", "images"),
    [((1, 8, 8), 128), ((1, 28, 28), 128), ((3, 32, 32), 128), ((3, 64, 64), 32), ((3, 96, 96), 8), ((3, 224, 224), 8),
     ((3, 4000, 4000), 8)],
)  # fmt: skip
def test_without_a_word_the_size_of_the_images_says_how_many_go_in_one_pass(shape, images):
    assert default_micro_batch(shape) == images


def test_the_number_of_images_has_no_say(write_world):
    root = write_world()
    assert shapes(root) == shapes(root, limit=3) == [128, 128]


@pytest.mark.parametrize(
    ("shape", "micro_batch", "device", "images"),
    [((3, 32, 32), 128, "cpu", 16), ((3, 32, 32), 8, "cpu", 8), ((3, 224, 224), 8, "cpu", 8),
     ((1, 32, 32), 128, "cpu", 128), ((3, 31, 32), 128, "cpu", 128), ((3, 32, 32), 128, "cuda", 128)],
)  # fmt: skip
def test_an_attack_on_colour_images_takes_small_passes_on_a_cpu_alone(shape, micro_batch, device, images):
    assert batch_of_a_search(shape, micro_batch, torch.device(device)) == images


class Counting(nn.Module):
    """The mean of the pixels as a score; notes how many images it is asked for a gradient of."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, x):
        if x.requires_grad:
            self.passes.append(len(x))
        return x.mean(dim=(1, 2, 3))


@pytest.mark.parametrize("evidence", [True, False])
def test_passes_of_sixteen_find_what_others_find_and_scores_are_taken_as_ever(evidence):
    def noise(count, seed):
        return {"source": "uniform", "args": {"count": count, "seed": seed, "shape": [3, 32, 32]}}

    sets = {"train": noise(8, 1), "calibration": noise(8, 2), "test": noise(20, 3), "ood": {"noise": noise(60, 4)}}
    track = TrackCard(name="colours", summary="Noise against noise.", shape=[3, 32, 32], classes=2, **sets)
    asked = {"track": track, "threat": "pgd-linf", "evidence": evidence, "steps": 5, "restarts": 1}
    searched, whole = Counting(), Counting()
    cell = bench.evaluate(searched, eps="linf:0.01", **asked).cells[-1]
    other = bench.evaluate(whole, eps="linf:0.01", micro_batch=8, **asked).cells[-1]
    assert max(searched.passes) == 16 and max(whole.passes) == 8  # few go before, to see what kind of module it is
    assert cell.meta.micro_batch == 128
    assert cell.samples["score"].to_numpy() == pytest.approx(other.samples["score"].to_numpy(), abs=1e-5)


@pytest.mark.parametrize("given", ["0", "-3", "4097", "many"])
def test_a_batch_that_is_not_allowed_is_one_sentence_on_the_command_line(given):
    for command in (["run", "--detector", "energy"], ["diagnose", "--detector", "energy"]):
        done = CliRunner().invoke(app, [*command, "--micro-batch", given])
        assert done.exit_code == 2 and "micro-batch" in done.output + done.stderr
