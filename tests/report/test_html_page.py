"""The page: nothing in a card or cell can become markup, nothing is loaded, the same cells give the same bytes."""

import base64
import hashlib
import itertools
import re
from xml.etree import ElementTree

import pytest
from html_cells import make_cell, page_of
from html_elements import Elements

from bench.cards.threat import Goal, Loss, Side
from bench.evaluation.results import FoolAtEps, FoolMetrics
from bench.report.html.page import SCRIPTS, render_page, render_tables
from bench.soundness.verdicts import Finding, Verdict, Verdicts

KEY = "ab" * 32
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}${1}$\\frac]]>"


def finding(verdict=Verdict.FAIL, **changes):
    fields = {"check": "D4", "title": "random points do not beat it", "found": "they do.", "figures": {"share": 0.25}}
    return Finding(verdict=verdict, advice="try square.", **{**fields, **changes})


@pytest.fixture(scope="module")
def cells(make_meta):
    return [make_cell(make_meta("gat", eps=eps), arrays=eps == 1.0) for eps in (None, 0.5, 1.0)]


@pytest.fixture(scope="module")
def html(cells):
    return render_page(page_of(*cells))


@pytest.fixture(scope="module")
def evil_page(make_meta):
    meta = make_meta(
        f"gat{EVIL}", f"pgd{EVIL}", key=KEY, track=EVIL, device=EVIL, notes=(EVIL,), versions={EVIL: EVIL},
        detector_hash=EVIL, weights_sha256=(EVIL,), threat_params={EVIL: EVIL}, set_digests={EVIL: EVIL},
        leaves_out=(EVIL,), statuses={EVIL: 3}, members={EVIL: 0.5}, thresholds={f"{EVIL}_tpr95": 1.0},
    )  # fmt: skip
    verdicts = {KEY: Verdicts(key=KEY, findings=(finding(title=EVIL, found=EVIL, figures={EVIL: 1.0}),))}
    cell = make_cell(meta)
    cell.samples["set"] = cell.samples["set"].replace("uniform", EVIL)
    return page_of(cell, verdicts=verdicts, title=EVIL)


def test_markup_in_every_text_is_shown_as_text(evil_page):
    html = render_page(evil_page)
    elements = Elements(html)
    assert len(elements.named("script")) == len(SCRIPTS)
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert all(image["src"].startswith("data:image/") for image in elements.named("img"))
    assert "alert(1)" in elements.text and "<script>alert(1)" not in html
    assert "49" not in re.findall(r">([^<>]*\}\}|49)<", html)  # no expression of a text is computed
    assert elements.text.count(EVIL) >= 15


def test_markup_is_text_in_figures_and_in_notebooks_too(evil_page):
    for drawing, wide in itertools.product(evil_page.drawings, (False, True)):
        root = ElementTree.fromstring(drawing.svg(wide=wide))
        assert {element.tag.rpartition("}")[2] for element in root.iter()}.isdisjoint({"script", "img", "image"})
        assert re.fullmatch(r"[a-z0-9.-]+", drawing.name)
    assert {tag for tag, _ in Elements(render_tables(part.table for part in evil_page.parts)).found}.isdisjoint(
        {"script", "img"}
    )


def test_the_page_loads_nothing(html):
    elements = Elements(html)
    addresses = [
        a[name] for _, a in elements.found for name in ("src", "href", "srcset", "action", "data") if name in a
    ]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest|import\(", re.sub(r"data:[^\"]*", "", html))
    for image in elements.named("img"):
        kind, _, content = image["src"].partition(";base64,")
        if kind == "data:image/svg+xml":
            root = ElementTree.fromstring(base64.b64decode(content))
            links = [v for e in root.iter() for k, v in e.attrib.items() if k.rpartition("}")[2] == "href"]
            assert all(link.startswith("#") for link in links)


def test_only_the_pages_own_script_and_style_may_run(html):
    policy = next(m["content"] for m in Elements(html).named("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    texts = re.findall(r"<(script|style)>(.*?)</\1>", html, re.DOTALL)
    assert [tag for tag, _ in texts] == ["style", *["script"] * len(SCRIPTS)]
    for _, text in texts:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy


def test_the_same_cells_give_the_same_bytes(cells, html):
    assert html == render_page(page_of(*reversed(cells)))


def sections(html):
    return re.findall(r'<section id="([\w-]+)">', html)


def titles(html):
    return re.findall(r"<h3>(.*?)</h3>", html)


def test_the_answer_comes_first_and_everything_behind_it_is_folded(html):
    assert sections(html) == ["part-1", "soundness", "cards", "hashes"]
    shown, _, folded = html.partition("<details")
    assert titles(shown) == ["Mean AUROC, l2 eps, under pgd-l2"]
    assert "gat keeps 0.80 of 0.95 at L2 1" in shown and "Mean AUROC against eps" in shown
    assert titles(folded) == [
        "Scores, clean and attacked",
        "Attacked images",
        "How the attacks got there",
        "every OOD set, with every figure",
    ]


def test_a_detectors_part_says_what_it_keeps_and_shows_its_own_cells_alone(make_meta):
    metas = [make_meta(name, eps=eps) for name in ("gat", "msp") for eps in (0.5, 1.0)]
    (part,) = page_of(*map(make_cell, metas)).parts
    assert [(own.label, own.kept) for own in part.detectors] == [
        ("gat", "0.950 clean, 0.800 at L2 1"),
        ("msp", "0.950 clean, 0.800 at L2 1"),
    ]
    for own in part.detectors:
        (scores,) = own.scores
        assert [axes.get_title(loc="left") for axes in scores.figure.axes] == ["pgd-l2, l2 eps 0.5", "pgd-l2, l2 eps 1"]
        assert len({axes.get_xlim() + axes.get_ylim() for axes in scores.figure.axes}) == 1  # one scale
        assert [row[0].text for row in own.grid.rows] == ["pgd-l2"] * 6
        assert {gallery.title.partition(" ")[0] for gallery in own.galleries} == {own.label}


def test_a_page_of_clean_cells_has_the_table_alone(make_meta):
    html = render_page(page_of(make_cell(make_meta(eps=None, gradients=0), attacked=(), arrays=False)))
    assert titles(html) == ["Mean AUROC", "every OOD set, with every figure"]
    assert "<figure>" not in html and "Nothing was attacked." in html


def test_every_further_table_has_its_own_answer_and_a_link(make_meta):
    metas = [make_meta(side=side) for side in (Side.EVADE, Side.ALARM)]
    html = render_page(page_of(*map(make_cell, metas)))
    assert sections(html)[:2] == ["part-1", "part-2"]
    assert re.findall(r'<a href="#(part-\d)">', html) == ["part-1", "part-2"]


def test_the_means_can_be_taken_along(html):
    links = {link["download"]: link["href"] for link in Elements(html).named("a") if "download" in link}
    texts = {name: base64.b64decode(uri.partition(",")[2]).decode() for name, uri in links.items()}
    assert texts["means-digits-evade.csv"] == "detector (mean AUROC),clean,L2 0.5,L2 1\ngat,0.95,0.8,0.8\n"
    assert r"gat & 0.950 & 0.800 & 0.800 \\" in texts["means-digits-evade.tex"]


def test_every_link_of_the_page_leads_somewhere(html):
    elements = Elements(html)
    places = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    assert {link["href"][1:] for link in elements.named("a") if "download" not in link} <= places


def test_what_a_page_holds_is_counted_and_named_in_the_order_of_the_alphabet(make_meta):
    names = ["oe", "msp", "gat", "energy", "aoe", "knn", "vim"]
    metas = [make_meta(name, threat, seconds=2.0) for name in names for threat in ("pgd-l2", "fgm-l2", "cw-l2", "apgd")]
    metas += [make_meta(name, "clean", eps=None, seconds=1.0) for name in names]
    counted = dict(page_of(*(make_cell(meta, arrays=False) for meta in metas)).counted)
    assert counted == {
        "tracks": "digits",
        "detectors": ", ".join(sorted(names)),
        "threats": "apgd, cw-l2, fgm-l2, pgd-l2",
        "cells": "35, 28 of them attacks",
        "soundness": "0 of 28 attacks checked, 0 not to be believed",
        "seconds spent": "63",
    }


def test_attacks_without_verdicts_are_named_and_how_to_get_them(html):
    assert "Not checked: 2 of the attacks." in html
    assert "<code>bench run --diagnose</code>" in html


def test_findings_are_shown_with_their_figures(make_meta):
    verdicts = {KEY: Verdicts(key=KEY, findings=(finding(), finding(Verdict.PASS, check="D10", figures={})))}
    html = render_page(page_of(make_cell(make_meta(key=KEY)), verdicts=verdicts))
    assert "share 0.25" in html and "try square." in html
    assert '<span class="badge fail">1 FAIL</span>' in html
    assert "0.800!" in html  # and the figure is marked
    assert "Not checked" not in html


def test_a_text_of_many_megabytes_is_cut(make_meta):
    html = render_page(page_of(make_cell(make_meta("x" * 2_000_000, device="y" * 2_000_000, track="z" * 2_000_000))))
    assert len(html) < 500_000


def test_fooled_cells_are_shown_by_their_shares(make_meta):
    at = FoolAtEps(
        eps=1.0, adversarial_accuracy=0.25, misclassified=0.75, undetected=0.5, detection_rate=0.3, auroc=0.6, se=0.03,
        median_norm=0.7,
    )  # fmt: skip
    fool = FoolMetrics(goal=Goal.ACCEPT, loss=Loss.JOINT, n=10, attacked=8, curve=(at,))
    page = page_of(make_cell(make_meta(side=Side.FOOL, fool=fool), attacked=("test",)))
    assert [drawing.name for drawing in page.drawings][:2] == [
        "fool-digits-pgd-l2-misclassify-and-accept-adversarial-accuracy",
        "fool-digits-pgd-l2-misclassify-and-accept-undetected",
    ]
    (own,) = page.parts[0].detectors
    assert own.convergence == ()  # the trace is of another figure there
    assert "under attack" in render_page(page)
