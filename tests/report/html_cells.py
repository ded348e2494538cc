"""Cells of a few samples, with traces and images, for the tests of the page."""

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.evaluation.results import Cell, CellMeta
from bench.evaluation.store import MemoryStore
from bench.report.html.build import build_page
from bench.report.html.page import Page
from bench.report.table import build_tables

SETS = ("test", "calibration", "letters", "uniform")
EACH = 6
POINTS = 5


class NoCards:
    """Nothing has a card."""

    def _none(self, *names):
        raise UsageError(f"there is no card of {names}")

    track = detector_spec = threat = weights_path = _none


def make_cell(meta: CellMeta, *, attacked: tuple[str, ...] = ("letters", "uniform"), arrays: bool = True) -> Cell:
    """Scores that the attack raises by 1 to 2; images of 2 x 3 pixels, one of each attacked set."""
    rng = np.random.default_rng(5)
    sets = np.repeat(SETS, EACH)
    count = len(sets)
    clean = np.where(np.isin(sets, ("test", "calibration")), 2.0, 0.0) + rng.normal(0, 0.5, count)
    hit = np.isin(sets, attacked)
    score = clean + hit * rng.uniform(1, 2, count)
    samples = pd.DataFrame(
        {
            "id": np.arange(count), "set": sets, "index": np.tile(np.arange(EACH), len(SETS)), "label": -1,
            "predicted": -1, "clean_score": clean.astype(np.float32), "score": score.astype(np.float32),
            "norm": np.where(hit, 0.5, 0.0).astype(np.float32), "gradients": 1, "queries": 0,
            "last_score": score.astype(np.float32), "attacked_predicted": -1,
            "status": np.where(hit, "completed", ""),
        }
    )  # fmt: skip
    if not arrays:
        return Cell(meta, samples)
    along = np.linspace(0, 1, POINTS)[None]
    trace = np.where(hit[:, None], clean[:, None] + along * (score - clean)[:, None], np.nan).astype(np.float32)
    rows = np.array([SETS.index(name) * EACH for name in attacked])
    images = rng.uniform(0, 1, (len(rows), 1, 2, 3)).astype(np.float32)
    return Cell(meta, samples, {"trace": trace, "images": images, "image_rows": rows})


def store_of(*cells: Cell) -> MemoryStore:
    """A store that holds these cells."""
    store = MemoryStore()
    for cell in cells:
        store.put(cell)
    return store


def page_of(*cells: Cell, verdicts=None, **options) -> Page:
    """The page of these cells, without cards or data."""
    verdicts = verdicts or {}
    failed = {key: found.failed for key, found in verdicts.items() if found.failed}
    tables = build_tables([cell.meta for cell in cells], failed)
    return build_page(tables, store_of(*cells), options.pop("cards", NoCards()), verdicts=verdicts, **options)
