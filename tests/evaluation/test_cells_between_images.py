"""A whole cell of the side `between`: nothing is attacked, and what was walked is told."""

import numpy as np
import pytest
import yaml

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.datasets.track import Track
from bench.evaluation import between

CARD = {
    "name": "walk",
    "summary": "straight ways",
    "method": "bench.threat_models.interpolation:Between",
    "knowledge": "scores",
    "sides": ["between"],
    "params": {"pairs": 7, "points": 5},
}


@pytest.fixture
def catalog(write_world):
    root = write_world()
    (root / "threat_models/walk.yaml").write_text(yaml.safe_dump(CARD))
    return Catalog(root)


@pytest.fixture
def walked(cells):
    return cells("labelled", "walk", micro_batch=16)


def test_the_paths_are_counted_and_cost_a_score_a_point(walked):
    _, cell = walked
    found = cell.meta.between
    assert cell.meta.side is Side.BETWEEN
    assert 1 <= found.paths <= 7
    assert found.alphas == pytest.approx((0.0, 0.25, 0.5, 0.75, 1.0))
    assert (cell.meta.queries, cell.meta.gradients) == (found.paths * 5, 0)
    assert len(found.score) == len(found.accepted) == 5
    assert found.accepted[0] == found.accepted[-1] == 1.0  # both ends are accepted images


def test_the_scores_of_all_sets_are_the_clean_ones(walked):
    clean, cell = walked
    assert len(cell.samples) == len(clean.samples)
    for name in ("clean_score", "score"):
        np.testing.assert_array_equal(cell.samples[name], clean.samples["clean_score"])
    assert set(cell.samples["status"]) == {""}
    assert cell.meta.mean.auroc == clean.meta.mean.auroc


def test_the_noise_along_a_path_is_that_of_the_image_where_it_begins(cells, catalog, monkeypatch):
    walked, asked, along, own = [], [], between._Walk.along, between.score_images

    def walk(self, ends, alphas):
        walked.append((ends, len(alphas)))
        return along(self, ends, alphas)

    def hear(detector, points, size, draws):
        asked.append(draws.ids)
        return own(detector, points, size, draws)

    monkeypatch.setattr(between._Walk, "along", walk)
    monkeypatch.setattr(between, "score_images", hear)
    cells("labelled", "walk", micro_batch=16)
    ids = Track(catalog.track("tiny"), workspace=catalog.workspace).set("test").ids
    assert walked
    for (ends, count), found in zip(walked, asked, strict=True):
        assert found.tolist() == np.repeat(ids.numpy()[ends[:, 0]], count).tolist()
