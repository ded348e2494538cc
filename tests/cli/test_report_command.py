"""`bench report` from a store to files."""

import re
import shutil

import pytest
from toy_runs import bench, make_workspace, run

from bench.report.html.build import build_page


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = make_workspace(tmp_path_factory.mktemp("toy"))
    done = run(folder, "--detector", "dark,corner", "--threat", "pgd-l2", "--eps", "0.2,3", "--diagnose")
    assert done.exit_code == 0, done.output
    return folder


def report(workspace, *options):
    return bench("report", workspace / "runs", "--workspace", workspace, *options)


@pytest.fixture(scope="module")
def page(workspace, tmp_path_factory):
    file = tmp_path_factory.mktemp("page") / "deep" / "page.html"
    done = report(workspace, "--to", file)
    assert (done.exit_code, done.stdout) == (0, f"the page is in '{file}'.\n")
    return file.read_text(encoding="utf-8")


def test_the_page_is_written_beside_the_cells_where_no_place_is_named(workspace, page):
    assert report(workspace).exit_code == 0
    assert (workspace / "runs" / "report.html").read_text(encoding="utf-8") == page  # and the same bytes again


def test_the_page_shows_start_images_where_the_tracks_data_are_at_hand(page):
    assert page.count('alt="start image of bright"') == page.count('alt="attacked image of bright"') == 4 * 2
    assert "dark under pgd-l2, l2 eps 3" in page


def test_the_page_shows_what_the_soundness_checks_found(page):
    assert re.search(r"4 of 4 attacks checked", page)
    assert "the attack sees the whole detector." in page


def test_the_page_shows_every_card_and_hash(workspace, page):
    assert all(f"<summary>{title}" in page for title in ("track toy", "detector dark on toy", "threat pgd-l2"))
    assert "are not those that the cells" not in page
    keys = {path.name for path in (workspace / "runs").glob("cells/*/*")}
    assert len(keys) == 6 and all(key in page for key in keys)


def test_a_card_that_has_changed_is_said_to_have(tmp_path):
    folder = make_workspace(tmp_path)
    run(folder, "--detector", "dark", "--threat", "pgd-l2", "--eps", "0.2")
    card = folder / "datasets/toy.yaml"
    card.write_text(card.read_text().replace('"classes": 2', '"classes": 3'))
    done = report(folder)
    assert done.exit_code == 0
    assert "notice: toy: the track's card has changed since the cells were computed." in done.stderr
    html = (folder / "runs" / "report.html").read_text(encoding="utf-8")
    assert "are not those that the cells were computed with" in html
    assert 'alt="start image' not in html and 'alt="attacked image' in html


def test_cells_whose_cards_are_gone_are_shown_all_the_same(workspace, tmp_path):
    done = bench("report", workspace / "runs", "--workspace", tmp_path, "--to", tmp_path / "page.html")
    assert done.exit_code == 0
    assert "No card is at hand: " in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_figures_and_tables_are_files_too(workspace, tmp_path):
    done = report(
        workspace, "--to", tmp_path / "p.html", "--figures", tmp_path / "f", "--tables", tmp_path / "t",
        "--detector", "dark",
    )  # fmt: skip
    assert done.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "f").iterdir())
    assert len(names) == 2 * 4 and "4 figures" in done.stdout  # means, a curve, histograms, a convergence
    assert {name.rpartition(".")[2] for name in names} == {"png", "svg"}
    assert "auroc-toy-evade-l2-pgd-l2.svg" in names
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        "cells.csv",
        "means-1-toy-evade.csv",
        "means-1-toy-evade.tex",
        "table-1-toy-evade.md",
        "table-1-toy-evade.tex",
    ]
    assert "corner" not in (tmp_path / "t" / "cells.csv").read_text()


def test_a_report_of_somebody_else_under_the_default_name_stays(workspace, tmp_path):
    runs = shutil.copytree(workspace / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*.html"))
    mine = runs / "report.html"
    mine.write_text("<!doctype html><title>mine</title>")
    done = bench("report", runs, "--workspace", workspace)
    assert done.exit_code == 2 and "report.html' is there" in done.stderr and "--to" in done.stderr
    assert mine.read_text() == "<!doctype html><title>mine</title>"
    assert bench("report", runs, "--workspace", workspace, "--to", mine).exit_code == 0  # the user named it
    assert bench("report", runs, "--workspace", workspace).exit_code == 0  # and now it is ours


@pytest.mark.parametrize(
    ("option", "name"),
    [("--tables", "cells.csv"), ("--tables", "means-1-toy-evade.csv"), ("--figures", "auroc-toy-evade-l2-pgd-l2.png")],
)
def test_figures_and_tables_take_the_place_of_their_own_kind_alone(workspace, tmp_path, option, name):
    request = ("--to", tmp_path / "p.html", option, tmp_path / "files", "--detector", "dark")
    for _ in range(2):
        assert report(workspace, *request).exit_code == 0
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "files").iterdir())
    (tmp_path / "files" / name).write_text("mine")
    done = report(workspace, *request)
    assert done.exit_code == 2 and f"{name}' is there" in done.stderr and "another folder" in done.stderr
    (tmp_path / "files" / name).write_bytes(dict(before)[name])
    assert before == sorted((path.name, path.read_bytes()) for path in (tmp_path / "files").iterdir())


def test_a_baseline_under_the_default_name_replaces_a_baseline_alone(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = ("baseline", workspace / "runs", "--workspace", workspace)
    mine = tmp_path / "baseline.json"
    mine.write_text('{"mine": 1}')
    done = bench(*record)
    assert done.exit_code == 2 and "'baseline.json' is there" in done.stderr
    assert mine.read_text() == '{"mine": 1}'
    assert bench(*record, "--to", "baseline.json").exit_code == 0
    assert bench(*record).exit_code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--detector", "drak"], "no stored cell has the detector 'drak'"),
        (["--to", "FILE/page.html"], "choose another place for it."),
        (["--figures", "FILE"], "choose another folder for it."),
        (["--gallery", "1000"], "--gallery"),
    ],
)
def test_a_wrong_request_is_answered_by_a_sentence_and_2(workspace, options, sentence):
    taken = str(workspace / "robustood.toml")  # a file where a folder would have to be
    done = report(workspace, *(option.replace("FILE", taken) for option in options))
    assert (done.exit_code, sentence in done.output) == (2, True), done.output


def test_a_folder_without_cells_is_answered_by_a_sentence_and_2(tmp_path):
    done = bench("report", tmp_path)
    assert (done.exit_code, "holds no cells of this version" in done.stderr) == (2, True)


def test_cells_whose_images_are_damaged_are_named_by_every_command_that_reads_them(workspace, tmp_path):
    def damaged(name):
        folder = shutil.copytree(workspace / "runs", tmp_path / name)
        for path in folder.glob("cells/*/*/arrays.safetensors"):
            path.write_bytes(path.read_bytes() + b" ")
        return folder

    base = tmp_path / "base.json"
    assert bench("baseline", workspace / "runs", "--workspace", workspace, "--to", base).exit_code == 0
    for name, *rest in (
        ("report", damaged("a")),
        ("baseline", damaged("b"), "--to", tmp_path / "other.json"),
        ("check", "--baseline", base, "--run", damaged("c")),
    ):
        done = bench(name, *rest, "--workspace", workspace)
        assert done.stderr.count("notice: a damaged cell (arrays.safetensors differs from its sha256)") == 4, name


def test_start_images_are_looked_for_where_the_data_are_said_to_be(workspace, tmp_path, monkeypatch):
    asked = {}
    build = build_page

    def seen(*args, **options):
        asked.update(options)
        return build(*args, **options)

    monkeypatch.setattr("bench.report.html.build.build_page", seen)
    done = report(workspace, "--to", tmp_path / "page.html", "--data-dir", tmp_path)
    assert done.exit_code == 0, done.output
    assert asked["data_dir"] == tmp_path
