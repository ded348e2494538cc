"""Which batch shape a cell is computed with."""

import yaml

from bench.catalog import Catalog
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
