"""Cells whose attack may search on a copy: what they say of it, and when they are other cells."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.cards.catalog import Catalog
from bench.cli.app import app
from bench.detectors.precision import Precision, SearchPrecision
from bench.detectors.searching import NoCopy
from bench.errors import UsageError
from bench.evaluation import copies
from bench.evaluation.api import evaluate
from bench.evaluation.engine import CellDone, run_plan
from bench.evaluation.plan import plan
from bench.evaluation.store import MemoryStore
from bench.leaderboards.recording import record
from bench.report.table import _label
from bench.testing.closed_forms import SHAPE
from bench.testing.threats import LinearScore

AUTO = SearchPrecision(Precision.AUTO)


def planned(threat="pgd-l2", **options):
    overrides = {"steps": 6} if threat == "pgd-l2" else None
    return plan(Catalog(None), ["energy"], [threat], "0.5", ["digits"], limit=30, overrides=overrides, **options)[-1]


def test_a_cell_that_searches_otherwise_is_another_cell():
    plain = planned()
    keys = {
        planned(search_precision=search_precision).key
        for search_precision in (AUTO, SearchPrecision(Precision.BF16), SearchPrecision(compiled=True))
    }
    assert len(keys | {plain.key}) == 4
    assert planned(search_precision=SearchPrecision()).key == plain.key
    assert planned(search_precision=AUTO).clean.key == plain.clean.key


@pytest.mark.parametrize("threat", ["noise-l2", "square-l2", "auto-l2"])
def test_where_no_step_follows_a_gradient_and_in_suites_it_is_the_same_cell(threat):
    assert planned(threat, search_precision=AUTO).key == planned(threat).key
    assert all(need.ingredients.search_precision is None for need in planned(threat, search_precision=AUTO).needs)


def cell(cells):
    store = MemoryStore()
    for outcome in run_plan([cells], store, Catalog(None)):
        assert isinstance(outcome, CellDone), outcome.sentence
    return store.get(cells.key)


def test_the_cell_says_with_what_it_searched_and_reports_the_same():
    plain, hasty = cell(planned()), cell(planned(search_precision=AUTO))
    (said,) = [note for note in hasty.meta.notes if "copy of the detector" in note]
    assert "batch norm folded, channels last" in said and "cosine of" in said
    assert not any("copy of the detector" in note for note in plain.meta.notes)
    assert (plain.meta.search, hasty.meta.search) == ("", "auto")
    assert abs(plain.meta.mean.auroc - hasty.meta.mean.auroc) < 0.005
    np.testing.assert_array_equal(plain.samples["clean_score"], hasty.samples["clean_score"])


def test_a_table_tells_it_from_its_namesake():
    metas = [cell(planned()).meta, cell(planned(search_precision=AUTO)).meta]
    assert [_label(meta, metas) for meta in metas] == ["energy", "energy search auto"]


def test_no_baseline_is_recorded_of_it():
    done = cell(planned(search_precision=AUTO))
    with pytest.raises(UsageError, match="searched on a copy"):
        record([done])


def test_it_says_so_too_where_there_is_no_copy(monkeypatch):
    from bench.detectors import searching

    monkeypatch.setattr(searching, "LEAST_COSINE", 2.0)
    plain, hasty = cell(planned()), cell(planned(search_precision=AUTO))
    assert any("asked the detector itself" in note for note in hasty.meta.notes)
    np.testing.assert_array_equal(plain.samples["score"], hasty.samples["score"])


def test_a_copy_is_made_once_for_all_cells_of_a_detector_and_anew_for_another_one(monkeypatch):
    made = []

    def none(detector, batch, search_precision):
        made.append((detector, len(batch), search_precision))
        return NoCopy("there is none.")

    monkeypatch.setattr(copies, "search_copy", none)
    pixels = torch.arange(3.0).view(3, 1, 1, 1).expand(-1, *SHAPE)
    images = SimpleNamespace(calibration=SimpleNamespace(pixels=lambda rows: pixels[rows]))
    first, second = LinearScore(), LinearScore()  # of the same settings, as two detectors of one card are
    asked, other, kept = (
        planned(search_precision=AUTO),
        planned(search_precision=SearchPrecision(Precision.BF16)),
        copies.Copies(),
    )
    for detector in (first, first, second, second, first):
        assert kept.taken(asked, detector, images) is None
        assert kept.notes(asked, detector, images) == ("there is none.",)
    size = asked.ingredients.micro_batch
    assert size > 3 and made == [(one, size, AUTO) for one in (first, second, first)]
    kept.notes(other, first, images)
    kept.clear()
    kept.notes(other, first, images)
    assert [search_precision for *_, search_precision in made[3:]] == [SearchPrecision(Precision.BF16)] * 2
    assert kept.notes(planned(), first, images) == () and len(made) == 5


def test_python_and_the_command_line_take_the_same_words(tmp_path):
    with pytest.raises(UsageError, match="precision"):
        evaluate("energy", "pgd-l2", eps=0.5, precision="float8")
    done = CliRunner().invoke(app, ["run", "--detector", "energy", "--precision", "float8"])
    assert done.exit_code == 2 and "float8" in done.output + done.stderr


def test_a_foreign_module_may_be_copied_too():
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))
    cells = evaluate(module, "pgd-l2", eps=0.5, limit=20, steps=6, precision="auto")
    assert any("asked the detector itself" in note or "asked a copy" in note for note in cells[-1].meta.notes)
