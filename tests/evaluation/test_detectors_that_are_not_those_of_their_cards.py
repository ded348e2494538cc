"""A detector whose clean figures are not those of its card is attacked by nothing: not by any kind of cell."""

import pytest
import yaml
from test_cells_between_images import CARD as WALK

from bench.cards.catalog import Catalog
from bench.errors import CellError
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.planned import Part
from bench.evaluation.store import MemoryStore
from bench.evaluation.workbench import Workbench

CELLS = {
    "on the score": ("fgm", None, {}),
    "a false alarm": ("noise", None, {"side": "alarm"}),
    "on the decision": ("fooling", "2", {"side": "fool"}),
    "at any radius": ("nearest", None, {"side": "fool"}),
    "the worst case": ("worst", "0.6", {"side": "alarm"}),
    "the worst decision": ("worst", "2", {"side": "fool"}),
    "between images": ("walk", None, {"side": "between"}),
}


@pytest.fixture
def recording(write_world):
    """A catalog with a classifier whose card records this clean AUROC."""

    def write(auroc):
        root = write_world()
        (root / "threat_models/walk.yaml").write_text(yaml.safe_dump(WALK))
        card = {
            "name": "another",
            "summary": "a small one",
            "method": "tiny_world:Labelled",
            "tracks": {"tiny": {"recorded": {"clean_auroc": auroc}}},
        }
        (root / "detectors/another.yaml").write_text(yaml.safe_dump(card))
        return Catalog(root)

    return write


@pytest.fixture
def asked(recording):
    """The catalog, and a plan of cells of the classifier, whose card records what is told."""

    def make(kind, auroc):
        catalog, (threat, eps, options) = recording(auroc), CELLS[kind]
        return catalog, plan(catalog, ["another"], [threat], eps, ["tiny"], micro_batch=32, **options)

    return make


def refused(outcome):
    return not isinstance(outcome, CellDone) and "records 0.1000" in outcome.sentence


@pytest.mark.parametrize("kind", CELLS)
def test_no_kind_of_cell_attacks_it(kind, asked):
    catalog, cells = asked(kind, 0.1)
    clean, attacked = run_plan(cells, MemoryStore(), catalog)
    assert isinstance(clean, CellDone)
    assert refused(attacked)


@pytest.mark.parametrize("kind", CELLS)
def test_nor_where_all_that_it_is_made_of_lies_in_the_store(kind, asked):
    """What a card records is no part of a cell's key, so cells are found that an earlier state of it let be made."""
    catalog, cells = asked(kind, None)
    whole = MemoryStore()
    assert all(isinstance(outcome, CellDone) for outcome in run_plan(cells, whole, catalog))
    kept = MemoryStore()
    for key in (cells[0].key, *(need.key for need in cells[1].needs)):
        kept.put(whole.get(key))
    catalog, (_, corrected) = asked(kind, 0.1)
    assert corrected.key == cells[1].key
    (outcome,) = run_plan([corrected], kept, catalog)
    assert refused(outcome)


def test_nor_any_share_of_its_images(asked):
    catalog, (_, cell) = asked("on the score", 0.1)
    bench = Workbench(catalog, MemoryStore(), device="cpu", data_dir=None)
    with pytest.raises(CellError, match=r"records 0\.1000"):
        bench.share(cell, Part(0, 2), lambda *_: None)
