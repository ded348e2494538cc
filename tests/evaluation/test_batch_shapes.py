"""Which batch shape a cell is computed with."""

import pytest
import yaml
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cards.detector import default_micro_batch
from bench.cli.app import app
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


@pytest.mark.parametrize("given", ["0", "-3", "4097", "many"])
def test_a_batch_that_is_not_allowed_is_one_sentence_on_the_command_line(given):
    for command in (["run", "--detector", "energy"], ["diagnose", "--detector", "energy"]):
        done = CliRunner().invoke(app, [*command, "--micro-batch", given])
        assert done.exit_code == 2 and "micro-batch" in done.output + done.stderr
