"""Entries: the built-in ones, what is refused, and what their layouts find."""

import json
import math
from pathlib import Path

import pytest

from bench.cards.catalog import Catalog
from bench.cards.reading import read_card
from bench.errors import CardError, DataError, UsageError, WeightsError
from bench.repro.closed_forms import figures_of
from bench.repro.entry import Entry, Scale, chosen
from bench.repro.library import asked_for, papers
from bench.repro.planning import checked_places, places, planned_runs

CATALOG = Catalog()
BUILT_IN = {entry.name: entry for one in papers(CATALOG) for entry in one.entries}
SMALL = {name: entry for name, entry in BUILT_IN.items() if entry.small.runs}
PAPERS = {"aoe", "conditional-generative", "gat", "ood-attack", "sdim"}

GOOD = {
    "name": "one",
    "items": ["Table 1"],
    "title": "A table",
    "shows": "Something.",
    "source": "Table 1",
    "small": {"about": "Little.", "runs": [{"id": "clean", "detector": ["msp", "energy"], "track": "digits"}]},
    "paper": {"missing": "The data."},
    "rows": [{"name": "msp", "detector": "msp"}, {"name": "energy", "detector": "energy"}],
    "columns": [{"name": "clean", "figure": "clean-auroc"}],
    "published": {"msp": {"clean": 0.9}},
    "claims": [{"kind": "greater", "figure": ["energy", "clean"], "than": ["msp", "clean"], "says": "It is better."}],
}


def read(tmp_path, content):
    path = tmp_path / "one.yaml"
    path.write_text(json.dumps(content))
    return read_card(path, Entry)


def test_there_are_entries_of_all_five_papers():
    assert {one.name for one in papers(CATALOG)} == PAPERS
    assert all(one.entries for one in papers(CATALOG))


@pytest.mark.parametrize("name", SMALL)
def test_every_row_and_column_of_a_built_in_entry_finds_its_cell(name):
    entry = SMALL[name]
    try:
        planned = planned_runs(entry.small, CATALOG, None)
    except (DataError, WeightsError) as error:
        pytest.skip(str(error))
    found = {(place.row, place.column) for place in places(entry, entry.small, planned)}
    of_cells = {
        (row.name, column.name) for row in entry.rows for column in entry.columns if "figure" in chosen(row, column)
    }
    wanted = {ref for claim in entry.claims for ref in claim.refs()}
    assert wanted & of_cells <= found
    assert wanted <= found or entry.small.experiments
    columns = {column for _, column in of_cells}
    assert columns == {column for _, column in found}, "a column that no cell has"
    assert columns == {column.name for column in entry.columns} or entry.small.experiments


@pytest.mark.parametrize("name", [name for name, entry in BUILT_IN.items() if entry.small.closed_form])
def test_a_closed_form_fills_its_table_and_its_claims_hold(name):
    entry = BUILT_IN[name]
    figures = checked_places(entry, figures_of(entry.small.closed_form, entry.small.args))
    assert {claim.verdict(figures.get) for claim in entry.claims} == {"holds"}


def test_a_good_entry_is_read(tmp_path):
    entry = read(tmp_path, GOOD)
    assert entry.at(Scale.SMALL).runs and entry.at(Scale.PAPER).missing == "The data."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": [*GOOD["rows"], GOOD["rows"][0]]}, "every row must have a name of its own"),
        ({"claims": [{"kind": "below", "figure": ["odin", "clean"], "value": 1, "says": "x"}]}, "no row 'odin'"),
        ({"published": {"msp": {"attacked": 0.5}}}, "no column 'attacked'"),
        ({"source": None}, "published figures need their source"),
        ({"claims": []}, "at least one claim"),
        ({"small": {"missing": "a", "about": "b", "runs": GOOD["small"]["runs"]}}, "runs or experiments, or a closed"),
        ({"small": {"runs": GOOD["small"]["runs"]}}, "give 'about'"),
        ({"columns": [{"name": "clean", "figure": "clean-auroc", "detector": "msp"}]}, "both say 'detector'"),
        ({"columns": [{"name": "clean", "figure": "clean-auroc", "eps": 1}]}, "a clean figure at a radius"),
        ({"columns": [{"name": "clean", "figure": "clean-auroc", "run": "other"}]}, "name the run 'other'"),
        ({"columns": [{"name": "clean", "figure": "best"}]}, "columns.0.figure"),
        ({"speed": 3}, "unknown field 'speed'"),
        ({"claims": [{"kind": "beats", "says": "x"}]}, "claims.0"),
    ],
)
def test_a_bad_entry_is_answered_by_a_sentence(change, said, tmp_path):
    with pytest.raises(CardError) as refused:
        read(tmp_path, {**GOOD, **change})
    assert said in str(refused.value)
    assert str(tmp_path) in str(refused.value)


def test_a_layout_that_fits_two_cells_says_which(tmp_path):
    entry = read(tmp_path, {**GOOD, "rows": [{"name": "msp"}, {"name": "energy", "detector": "energy"}]})
    planned = planned_runs(entry.small, CATALOG, None)
    with pytest.raises(UsageError, match="msp x clean on digits and energy x clean on digits both fit"):
        places(entry, entry.small, planned)


def test_a_grid_of_parameters_gives_a_cell_each_and_the_layout_tells_them_apart(tmp_path):
    run = {
        "id": "grid",
        "detector": ["odin"],
        "threat": "pgd-l2",
        "eps": [1],
        "track": "digits",
        "params_grid": {"steps": [1, 2]},
        "score_grid": {"temperature": [1.0, 10.0]},
    }
    entry = read(
        tmp_path,
        {
            **GOOD,
            "small": {"about": "Little.", "runs": [run]},
            "published": {},
            "rows": [{"name": f"s{s}", "params": {"steps": s}} for s in (1, 2)],
            "columns": [{"name": f"t{t:g}", "score": {"temperature": t}, "figure": "auroc"} for t in (1.0, 10.0)],
            "claims": [{"kind": "falls", "along": [["s1", "t1"], ["s2", "t1"]], "says": "x"}],
        },
    )
    found = places(entry, entry.small, planned_runs(entry.small, CATALOG, None))
    assert len({place.cell.key for place in found}) == len(found) == 4
    assert {(p.column, p.cell.detector.params["temperature"]) for p in found} == {("t1", 1.0), ("t10", 10.0)}


def test_a_run_names_the_batch_shape_of_its_passes(tmp_path):
    run = {**GOOD["small"]["runs"][0], "limit": 8, "micro_batch": 8}
    cells = planned_runs(read(tmp_path, {**GOOD, "small": {"about": "Little.", "runs": [run]}}).small, CATALOG, None)
    assert [cell.ingredients.micro_batch for cell in cells["clean"]] == [8, 8]


def test_a_name_is_an_entry_a_paper_or_all():
    found = papers(CATALOG)
    assert [entry.name for entry in asked_for(found, "gat-steps")] == ["gat-steps"]
    assert {entry.name for entry in asked_for(found, "aoe")} == {name for name in BUILT_IN if name.startswith("aoe-")}
    assert len(asked_for(found, "all")) == len(BUILT_IN)
    with pytest.raises(UsageError, match="did you mean gat-steps"):
        asked_for(found, "gat-step")


def test_an_entry_has_the_name_of_its_file_and_a_folder_its_paper(tmp_path):
    folder = tmp_path / "benchmarks" / "papers" / "mine"
    folder.mkdir(parents=True)
    (folder / "two.yaml").write_text(json.dumps(GOOD))
    with pytest.raises(CardError, match=r"has no paper\.yaml"):
        papers(Catalog(tmp_path))
    (folder / "paper.yaml").write_text("{title: T, authors: A, year: 2020}")
    with pytest.raises(CardError, match="allowed: 'two'"):
        papers(Catalog(tmp_path))


def test_the_null_space_is_closed_to_the_last_place():
    figures = figures_of("null-space", {"inputs": 50, "outputs": 3, "times": 5})
    assert figures["linear layer", "mape"].value < 1e-10
    assert figures["linear layer", "moved"].value == pytest.approx(5)


def test_the_counter_example_goes_away_where_the_model_is_right():
    """With as much of class 1 in the ball as the model has of class 0, it is not fooled there."""
    args = {"lambda_1": 1e-4, "lambda_2": 1e-12, "delta": 0.5, "dimension": 40, "samples": 500}
    assert figures_of("counter-example", args)["counter-example", "attacked"].value == 0.0


def test_the_divergences_of_the_counter_example_are_those_of_its_lemmas():
    args = {"lambda_1": 0.2, "lambda_2": 0.1, "delta": 0.5, "dimension": 2, "samples": 100}
    figures = figures_of("counter-example", args)
    volume = 1.5**2  # of the disc of radius 1 + D, in unit discs
    inner, ring = 0.2, 0.8 / (volume - 1)  # densities of p(x|0), in the same unit
    forward = math.log(1 / volume / inner) / volume + math.log(1 / volume / ring) * (volume - 1) / volume
    backward = 0.2 * math.log(inner * volume) + 0.8 * math.log(ring * volume)
    assert figures["counter-example", "kl-q-p"].value == pytest.approx(forward / 2)
    assert figures["counter-example", "kl-p-q"].value == pytest.approx(backward / 2)


@pytest.mark.parametrize(
    ("name", "args"), [("nothing", {}), ("null-space", {"inputs": 1}), ("null-space", {"speed": 1}), ("maximin", {})]
)
def test_a_closed_form_says_what_is_wrong(name, args):
    with pytest.raises(UsageError) as refused:
        figures_of(name, args)
    assert "closed form" in str(refused.value)


def test_every_file_of_the_folder_is_an_entry_or_names_a_paper():
    folder = Path(CATALOG.builtin) / "benchmarks" / "papers"
    assert {path.stem for path in folder.glob("*/*.yaml")} == {*BUILT_IN, "paper"}
