"""The site: nothing in a row can become markup, nothing is loaded, the same rows give the same bytes."""

import base64
import hashlib
import json
import re

import numpy as np
import pytest
from board_rows import found_row, track_card, varied_board
from html_elements import Elements

from bench.cards.base import Paper
from bench.errors import UsageError
from bench.leaderboards.companions import Files
from bench.leaderboards.detector_page import detector_page
from bench.leaderboards.explained import near_far_grid
from bench.leaderboards.figures import row_curve, row_galleries, row_scores
from bench.leaderboards.folder import LeftOut
from bench.leaderboards.image_by_image import image_data
from bench.leaderboards.ranking import Leaderboards, rank
from bench.leaderboards.site import site_pages, write_site

pytestmark = pytest.mark.usefixtures("undrawn")

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></script><!--{{ 7 * 7 }}"


def all_of(*boards, left_out=()):
    return Leaderboards(tuple(boards), tuple(left_out))


@pytest.fixture(scope="module")
def board(undrawn):
    return varied_board()


@pytest.fixture(scope="module")
def pages(board):
    return dict(site_pages(all_of(board)))


@pytest.fixture(scope="module")
def evil_pages(undrawn):
    paper = Paper(title=EVIL, authors=EVIL, year=2020, url="https://example.org/\"'><script>alert(1)</script>")
    texts = {"paper": paper, "trained_on": EVIL, "tuned_on": EVIL, "extra_data": EVIL}
    board = rank(
        track_card(), [found_row("evil", 1, **texts, beaten=(0.1,)), found_row("evil", 2, past=EVIL), found_row("a", 3)]
    )
    return dict(site_pages(all_of(board, left_out=[LeftOut(f"small/{EVIL}.json", EVIL)])))


def test_there_is_a_page_for_all_tracks_for_each_track_for_its_pairs_and_for_each_row(board, pages):
    rows = {f"small/{found.row.stem}.html" for found in board.rows}
    assert set(pages) == {"index.html", "small/index.html", "small/compare.html", *rows}
    assert len(rows) == 9


def test_markup_in_every_text_of_a_row_is_shown_as_text(evil_pages):
    for name, page in evil_pages.items():
        elements = Elements(page)
        assert not [key for _, attributes in elements.found for key in attributes if key.startswith("on")], name
        assert all(image["src"].startswith("data:image/") for image in elements.named("img"))
        assert "<script>alert(1)" not in page
        scripts = [script for script in elements.named("script") if script.get("type") != "application/json"]
        assert len(scripts) <= 3
    texts = "".join(Elements(page).text for page in evil_pages.values())
    assert texts.count(EVIL) >= 5


def test_links_to_other_sites_are_those_of_papers_and_weights_alone(pages, evil_pages):
    for page in (*pages.values(), *evil_pages.values()):
        away = [a for a in Elements(page).named("a") if "//" in a["href"]]
        assert all(a["href"].startswith("https://example.org/") and "noreferrer" in a["rel"] for a in away)


def test_every_link_leads_to_a_page_of_the_site(pages):
    for name, page in pages.items():
        for link in Elements(page).named("a"):
            target = link["href"].partition("#")[0]
            if not target or "//" in target:
                continue
            folder = name.rpartition("/")[0]
            place = target.removeprefix("../") if target.startswith("../") else f"{folder}/{target}".lstrip("/")
            assert place in pages, (name, target)


def test_only_the_pages_own_scripts_and_style_may_run(pages):
    for name, page in pages.items():
        policy = next(m["content"] for m in Elements(page).named("meta") if m.get("http-equiv"))
        assert policy.startswith("default-src 'none'; img-src data:;")
        texts = re.findall(r"<style>(.*?)</style>", page, re.DOTALL) + re.findall(
            r"<script>(.*?)</script>", page, re.DOTALL
        )
        for text in texts:
            assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy, name
        assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", page), name


def test_the_same_rows_give_the_same_bytes_wherever_they_are_written(board, tmp_path):
    for folder in ("one", "two"):
        write_site(all_of(varied_board()), tmp_path / folder)
    one, two = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )
    assert one == two
    assert str(tmp_path) not in b"".join(one.values()).decode()


def test_nothing_is_written_outside_the_folder_and_what_lies_in_it_stays(tmp_path):
    own = tmp_path / "site/mine.txt"
    own.parent.mkdir()
    own.write_text("mine")
    count = write_site(all_of(varied_board()), tmp_path / "site")
    assert own.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"site"}
    assert count == len(list((tmp_path / "site").rglob("*.html")))


def test_a_page_of_somebody_else_stays_and_no_other_is_written(tmp_path):
    write_site(all_of(varied_board()), tmp_path / "site")
    write_site(all_of(varied_board()), tmp_path / "site")
    mine = tmp_path / "mine/small/index.html"
    mine.parent.mkdir(parents=True)
    mine.write_text("<title>mine</title>")
    with pytest.raises(UsageError, match=r"small/index.html' is there.*--html"):
        write_site(all_of(varied_board()), tmp_path / "mine")
    assert mine.read_text() == "<title>mine</title>"
    assert [path.name for path in (tmp_path / "mine").rglob("*.html")] == ["index.html"]


def test_the_compared_figures_are_in_the_page_and_cannot_end_their_block(board, pages):
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', pages["small/compare.html"])
    data = json.loads(block)
    assert [row["name"] for row in data["rows"]] == [own.row.detector.name for own in board.standings]
    assert len(data["pairs"]) == 10
    assert {figure["figure"] for figure in data["pairs"]["0 1"]} >= {"clean", "worst case"}
    assert "<" not in block and ">" not in block


def test_files_that_were_left_out_are_named_without_the_machine_s_paths():
    pages = dict(site_pages(all_of(varied_board(), left_out=[LeftOut("small/x.json", "row '/home/me/x' is bad")])))
    assert "small/x.json" in pages["small/index.html"] and "small/x.json" in pages["index.html"]
    assert "/home/me" not in "".join(pages.values())


def test_a_board_without_rows_has_pages_that_say_so():
    pages = dict(site_pages(all_of(rank(track_card(), []))))
    assert set(pages) == {"index.html", "small/index.html", "small/compare.html"}
    assert "fewer than two" in pages["small/compare.html"]
    assert "no row yet" in dict(site_pages(all_of()))["index.html"]


def test_the_page_of_a_re_attacked_row_says_with_which_seeds():
    pages = "".join(page for page in dict(site_pages(all_of(varied_board()))).values() if isinstance(page, str))
    assert "Fresh attacks at equal budget with the seeds 1, 2, 3; the lowest median ranks the row." in pages


def test_what_a_board_attacks_is_said_and_badges_are_explained_where_they_stand(pages):
    for name in ("index.html", "small/index.html"):
        words = Elements(pages[name]).text
        assert "all-l2 within L2 1 and all-linf within Linf 0.05" in words
        assert "Of each image the worst of climb counts" in words
        assert "a verifier's fresh attacks do not make it much worse" in words
        assert "The best rows of small" in words
    assert "At Linf 0.05" in Elements(pages["small/index.html"]).text


def test_a_setting_can_be_chosen_and_says_which_parts_are_of_it(pages):
    parts = [own["data-settings"] for _, own in Elements(pages["small/index.html"]).found if "data-settings" in own]
    assert parts == ["L2 1", "Linf 0.05"]
    (form,) = [own for own in Elements(pages["small/index.html"]).named("form") if own["aria-label"] == "Setting"]
    assert "hidden" in form  # until a script shows it


def test_a_detectors_page_names_its_checks_in_words(board):
    found = next(own.found for own in board.standings if own.row.detector.name == "plain")
    page = detector_page(board, found)
    assert [[word.text for word in row] for row in page.soundness.rows] == [
        ["random points do not beat it (D4)", "WARN of 2 (all-l2 at l2 1, all-linf at linf 0.05)"],
        ["a larger eps helps the attacker (D5)", "PASS of 2"],
    ]


def test_kept_images_are_shown_with_their_scores_and_no_more_than_a_few_of_a_set():
    found = found_row("a", 1)
    rows = np.array([*range(6), 30])
    images = {f"rows.{n}": rows for n in (0, 1)} | {f"images.{n}": np.zeros((7, 1, 4, 4), np.float32) for n in (0, 1)}
    galleries = row_galleries(found.row, Files(found.files.table, images))
    assert [gallery.title for gallery in galleries] == ["all-l2 at L2 1", "all-linf at Linf 0.05"]
    assert [shown.set for shown in galleries[0].images] == ["near"] * 4 + ["far"]
    assert galleries[0].images[4].score == f"{found.files.table.arrays['worst.0'][30]:.4g}"
    assert row_galleries(found.row, None) == ()


def test_of_every_image_the_share_of_id_images_above_it_is_told(board):
    standing = board.standings[0]
    (own, *_) = image_data(board.standings)
    shares = [share / 1000 for found in own["sets"].values() for share in found["shares"]]
    table, entry = standing.files.table, standing.row.entries.index(standing.row.worst_entry)
    scores = table.arrays[f"worst.{entry}"]
    expected = [float((table.test > score).mean() + (table.test == score).mean() / 2) for score in scores]
    assert shares == pytest.approx(expected, abs=6e-4)
    assert [found["ids"] for found in own["sets"].values()] == [
        ids.tolist() for ids in list(table.ids_by_set().values())[1:]
    ]


def test_near_and_far_are_means_over_their_sets(board):
    track = board.track
    groups = {"near": "near", "far": "far"}
    ood = {name: spec.model_copy(update={"group": groups[name]}) for name, spec in track.ood.items()}
    grid = near_far_grid(track.model_copy(update={"ood": ood}), board.standings)
    entry = board.standings[0].row.worst_entry
    assert [word.text for word in grid.rows[0][1:]] == [
        f"{estimate.auroc:.3f}" for name in groups for estimate in (entry.sets[name].clean, entry.sets[name].attacked)
    ]
    assert near_far_grid(track, board.standings) is None


def test_a_rows_figures_are_drawn_from_its_own(board):
    row = board.standings[0].row
    axes = row_curve(row).figure.axes[0]
    assert axes.lines[0].get_ydata().tolist() == [row.clean.auroc, *(entry.mean.auroc for entry in row.entries)]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["clean", "L2 1", "Linf 0.05"]
    panels = row_scores(row, board.standings[0].files.table).figure.axes
    assert len(panels) == 2 and len({panel.get_xlim() for panel in panels}) == 1
