"""Figures that papers publish: read within bounds, shown dim beside measured rows, and never ranked with them."""

from pathlib import Path

import pytest
import yaml
from row_world import bench

from bench.cards.catalog import Catalog
from bench.errors import BenchError
from bench.leaderboards.published import Read, facts_of, published_lines, published_tables

SHIPPED = Path(__file__).parents[2] / "leaderboards" / "published"
TABLE = {
    "paper": {"title": "A paper", "authors": "Somebody", "year": 2020},
    "track": "small", "setting": "linf-8-255", "eps": "8/255", "attack": "PGD", "sets": "noise", "source": "a page",
    "read": "text", "figures": [{"method": "theirs", "clean": 0.99, "both": 0.12}],
}  # fmt: skip


@pytest.fixture
def root(tmp_path):
    (tmp_path / "robustood.toml").write_text("")
    folder = tmp_path / "leaderboards" / "published"
    folder.mkdir(parents=True)
    return tmp_path


def write(root, name="one", **changes):
    (root / "leaderboards" / "published" / f"{name}.yaml").write_text(yaml.safe_dump(TABLE | changes))


def tables(root, tracks=("small",), setting=None):
    return published_tables(Catalog.find(root), tracks, setting)


def test_a_table_of_the_workspace_is_shown_dim_with_its_attack_and_source(root):
    write(root)
    (table,) = tables(root)
    lines = published_lines([table], 100)
    assert {line.kind for line in lines} == {"caption"}
    text = "\n".join(line.text for line in lines)
    assert "theirs  0.990      -      -  0.120" in text
    assert "linf eps 0.0314 = 8/255; PGD; noise; from a page." in text


def test_what_was_read_off_a_picture_says_so(root):
    write(root, read="picture")
    assert facts_of(tables(root)[0]).endswith("read by eye off a picture.")


def test_a_setting_chooses_and_an_unknown_one_is_answered_by_those_there_are(root):
    write(root)
    write(root, "two", setting="l2-0-5")
    assert [table.setting for table in tables(root)] == ["l2-0-5", "linf-8-255"]
    assert [table.setting for table in tables(root, setting="l2-0-5")] == ["l2-0-5"]
    with pytest.raises(BenchError, match="these have: l2-0-5, linf-8-255"):
        tables(root, setting="l1")


@pytest.mark.parametrize(
    "changes",
    [
        {"figures": [{"method": "theirs", "clean": 93.2}]},
        {"figures": []},
        {"figures": [{"method": "a" * 81}]},
        {"figures": [{"method": "theirs"}] * 201},
        {"attack": "a" * 401},
        {"read": "memory"},
        {"setting": "../x"},
        {"place": 1},
        {"eps": -1.0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_file_that_is_not_what_it_should_be_is_left_out_and_named(root, changes):
    write(root, "broken", **changes)
    write(root)
    said = []
    (table,) = published_tables(Catalog.find(root), ["small"], said=said.append)
    assert table.attack == "PGD" and table.figures[0].method == "theirs"
    (sentence,) = said
    assert "broken.yaml" in sentence


def test_the_boards_are_shown_beside_a_broken_file_of_figures(root):
    write(root, "broken", eps=-1.0)
    shown = bench("leaderboard", "--workspace", root)
    assert shown.exit_code == 1
    assert "left out: " in shown.stderr and "broken.yaml" in shown.stderr
    pages = bench("leaderboard", "--workspace", root, "--html", root / "pages")
    assert pages.exit_code == 1 and (root / "pages" / "index.html").is_file()


def test_of_too_many_files_the_first_are_read_and_it_is_said(root, monkeypatch):
    monkeypatch.setattr("bench.leaderboards.published.MOST_FILES", 1)
    write(root)
    write(root, "two", setting="l2-0-5")
    said = []
    assert len(published_tables(Catalog.find(root), ["small"], said=said.append)) == 1
    assert "holds 2 files; only the first 1 are read" in said[0]


def test_every_shipped_table_is_of_a_track_that_ships_and_none_is_from_memory():
    catalog = Catalog.find(SHIPPED.parents[1])
    found = published_tables(catalog, None)
    assert len(found) == len(list(SHIPPED.glob("*.yaml")))
    assert {table.track for table in found} == {"cifar10", "cifar100"}
    assert {table.read for table in found} == {Read.TEXT, Read.PICTURE}
    assert all("memory" not in facts_of(table) for table in found)


def test_figures_are_those_of_the_papers_tables():
    found = published_tables(Catalog.find(SHIPPED.parents[1]), ["cifar10"], "linf-8-255")
    both = {(t.paper.year, own.method): own.both for t in found for own in t.figures}
    evade = {(t.paper.year, own.method): own.evade for t in found for own in t.figures}
    assert both[2022, "ATD"] == 0.693
    assert both[2024, "RODEO"] == 0.695
    assert evade[2021, "MSP"] == 0.1382
    assert evade[2021, "ODIN"] == 0.0018


def test_the_command_shows_them_below_the_board_and_without_a_place():
    shown = bench("leaderboard", "--track", "cifar10", "--setting", "one-class-linf-8-255")
    assert shown.exit_code == 0, shown.output
    board, _, published = shown.stdout.partition("Published, not measured here")
    assert "RODEO" in published and "RODEO" not in board
    assert "place" not in published.split("measured here.")[1]


def test_a_setting_that_pages_cannot_show_alone_is_refused(tmp_path):
    done = bench("leaderboard", "--setting", "linf-8-255", "--html", tmp_path / "site")
    assert done.exit_code == 2
    assert "--setting" in done.output


def test_the_pages_have_one_of_published_figures(tmp_path):
    done = bench("leaderboard", "--track", "cifar10", "--html", tmp_path / "site")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "site" / "published.html").read_text()
    assert 'class="published"' in page
    assert "0.693" in page
    assert 'href="published.html"' in (tmp_path / "site" / "index.html").read_text()
