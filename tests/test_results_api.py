"""`bench.load_results` and what its results show."""

import dataclasses
import inspect
import shutil

import numpy as np
import pytest
import torch

import bench
from bench.cards.catalog import Catalog
from bench.datasets.track import Track
from bench.errors import UsageError
from bench.evaluation.store import Store

PARTS = {"track": "digits", "limit": 5, "steps": 2, "restarts": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("results") / "runs"


@pytest.fixture(scope="module")
def evaluated(folder):
    return bench.evaluate("msp", "pgd-l2", eps=[0.5, 1], store=folder, **PARTS)


@pytest.fixture(scope="module")
def results(evaluated, folder):
    return bench.load_results(folder)


def test_what_was_stored_is_loaded(evaluated, results, folder):
    assert {meta.key for meta in results.metas} == {meta.key for meta in evaluated.metas} == set(Store(folder).keys())
    by_key = {cell.meta.key: cell for cell in results.cells}
    assert all((by_key[cell.meta.key].samples == cell.samples).all().all() for cell in evaluated.cells)


def test_a_table_has_the_figures_of_every_set(results):
    table = results.table()
    assert len(table) == 3 * (len(results.metas[0].sets) + 1)
    found = table[(table["set"] == "mean") & (table["eps"] == 1)]["auroc"].item()
    assert found == next(meta.mean.auroc for meta in results.metas if meta.eps == 1)


def test_a_table_names_the_checks_that_a_cell_fails(results):
    doubted = results.metas[-1]
    table = dataclasses.replace(results, failed={doubted.key: ("D2", "D4")}).table()
    assert set(table["failed_checks"]) == {"", "D2 D4"}
    assert (table["failed_checks"] == "D2 D4").sum() == len(doubted.sets) + 1


def test_a_notebook_shows_the_table(results):
    html = results._repr_html_()
    assert "<th>mean AUROC</th>" in html and "msp" in html and "<script" not in html


@pytest.mark.parametrize(("kind", "count"), [("eps", 1), ("scores", 2), ("convergence", 1)])
def test_every_kind_of_plot_is_drawn(evaluated, kind, count):
    drawn = evaluated.plot(kind)
    assert len(drawn) == count
    assert all(drawing.figure.axes for drawing in drawn)


def test_a_plot_that_does_not_exist_is_answered_by_a_sentence(results):
    with pytest.raises(UsageError, match="there is no plot 'bars'; give one of eps, scores, convergence"):
        results.plot("bars")


@pytest.mark.parametrize(("name", "sentence"), [("absent", "is not a folder"), (".", "holds no cells of this version")])
def test_a_folder_without_cells_is_answered_by_a_sentence(tmp_path, name, sentence):
    with pytest.raises(UsageError, match=sentence):
        bench.load_results(tmp_path / name)


def test_the_function_says_what_it_takes_and_returns():
    signature = inspect.signature(bench.evaluate)
    assert list(signature.parameters)[:3] == ["detector", "threat", "track"]
    assert signature.return_annotation is bench.Evaluation
    assert bench.evaluate.__doc__.startswith("Score detectors on a track")


def test_a_damaged_cell_is_left_out_with_a_warning(folder, results, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "runs")
    next(copy.glob("cells/*/*/samples.parquet")).unlink()
    with pytest.warns(UserWarning, match="samples.parquet is missing"):
        assert len(bench.load_results(copy).metas) == len(results.metas) - 1


def mean_rows(evaluation):
    table = evaluation.table()
    return table[(table["set"] == "mean") & (table["threat"] != "clean")]


def test_a_table_says_under_which_conditions_its_figures_were_measured(results):
    table = mean_rows(results)
    assert set(table["limit"]) == {5} and set(table["seed"]) == {0}
    assert set(table["steps"]) == {2} and set(table["restarts"]) == {1}
    assert all("steps=2" in text and "step_size=" in text for text in table["params"])
    assert set(table["side"]) == {"evade"} and set(table["status"]) == {"completed"}
    assert set(table["without"]) == set(table["left_out"]) == set(table["failed_parts"]) == {""}
    assert set(results.CONDITIONS) <= set(table.columns)


def test_statuses_are_counted_where_not_all_attacks_came_to_their_end(results):
    meta = results.metas[-1].model_copy(update={"statuses": {"completed": 3, "stopped": 1, "no-gradient": 7, "": 9}})
    table = dataclasses.replace(results, metas=(meta,)).table()
    assert set(table["status"]) == {"completed 3, no-gradient 7, stopped 1"}
    ended = meta.model_copy(update={"statuses": {"completed": 3, "stopped": 4, "failed": 0}})
    assert set(dataclasses.replace(results, metas=(ended,)).table()["status"]) == {"completed"}


UNLIKE = {
    "limit": {"limit": 4},
    "seed": {"seed": 1},
    "params": {"threat_params": {"steps": 3, "restarts": 1}},
    "side": {"side": "alarm"},
    "without": {"without": ("letters",)},
    "left_out": {"left_out": {"transfer-l2": "none"}},
    "failed_parts": {"failed_needs": {"pgd-l2": "it broke"}},
    "status": {"statuses": {"no-gradient": 5}},
    "early_stop": {"early_stop": False},
}


@pytest.mark.parametrize("column", UNLIKE)
def test_cells_that_are_unlike_differ_in_a_column(results, column):
    meta = next(meta for meta in results.metas if meta.eps == 1)
    other = type(meta).model_validate({**meta.model_dump(), **UNLIKE[column], "key": "0" * 64})
    table = mean_rows(dataclasses.replace(results, metas=(meta, other)))
    assert [name for name in results.CONDITIONS if table[name].nunique(dropna=False) > 1] == [column]
    assert table["cell"].nunique() == 2


def test_completion_shows_the_surface_and_all_of_it_is_there():
    assert dir(bench) == sorted(bench.__all__)
    assert all(getattr(bench, name) is not None for name in dir(bench))
    assert bench.metrics.__name__ == "bench.metrics"


@pytest.mark.parametrize("name", ["gat", "msp", "knn"])
def test_a_detector_is_loaded_as_cells_have_it(name, evaluated):
    detector = bench.load_detector(name, "digits", device="auto")
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scores = detector.score(images)
    assert scores.shape == (3,) and scores.isfinite().all() and not detector.training
    assert torch.autograd.grad(scores.sum(), images)[0].abs().sum() > 0


def test_a_loaded_detector_gives_the_scores_of_its_cell(evaluated):
    cell = evaluated.cells[0]
    test = cell.samples[cell.samples["set"] == "test"]
    pixels = Track(Catalog().track("digits")).set("test").pixels(torch.tensor(test["index"].to_numpy()))
    scores = bench.load_detector("msp").score(pixels)
    assert np.allclose(scores, test["clean_score"], atol=1e-4)


def test_folders_may_be_texts(tmp_path):
    found = bench.evaluate(
        "msp", "noise-l2", eps=1, workspace=str(tmp_path), data_dir=str(tmp_path), device="auto", limit=2
    )
    assert len(found.metas) == 2


def test_an_evaluation_is_shown_by_a_sentence_and_its_table_has_the_accuracy():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
    images = torch.rand(30, 1, 6, 6)
    track = bench.make_track((images, torch.arange(30) % 3), {"dark": images * 0.5}, name="mine")
    found = bench.evaluate("energy", "fgm-l2", track, network=network, eps=0.5)
    assert repr(found).startswith("Evaluation of 2 cells: energy@sequential ")
    assert len(repr(found)) < 300
    assert found.table()["id_accuracy"].between(0, 1).all()
