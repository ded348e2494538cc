"""The documentation site is built without a warning, says what there is, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from bench.cards.catalog import Catalog, Kind
from bench.cards.detector import DetectorCard
from bench.cards.track import OodSpec, TrackCard
from bench.cli.app import MODULES
from bench.datasets.published import BATCHES, IDX, IDX_COPIES
from bench.datasets.sources import load_source, source_names
from bench.datasets.sources._args import DrawnArgs
from bench.errors import DataError

DRAWN = {"count": 1, "seed": 1}
ENOUGH = {
    "digits": {"split": "test"},
    "background": {"of": {"source": "digits"}, "behind": {"source": "digits"}, "seed": 0},
    "corrupted": {"of": {"source": "digits"}, "count": 1, "severity": 1, "seed": 0},
    "npz": {"file": "a.npz"},
    "skimage": {"pictures": ["a.png"], "shape": [1, 2, 2]},
    "torchvision": {"dataset": "MNIST", "train": True},
    "folder": {"path": "a", "shape": [1, 2, 2]},
    "photos": {**DRAWN, "shape": [1, 2, 2], "image": "china.jpg"},
    **dict.fromkeys(("glyphs", "strokes", "shuffled"), DRAWN),
    **{name: {**DRAWN, "shape": [1, 2, 2]} for name in ("uniform", "gaussian", "spiral", "checkerboard")},
}
"""Arguments that a source needs, so that the one it does not know is the first that is wrong."""

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the extra 'docs' is not installed")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    silent = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=silent, capture_output=True, text=True, timeout=300, check=False)
    assert built.returncode == 0, built.stderr
    return folder


class Page(HTMLParser):
    """The headings' anchors of a page, what it loads, and its words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.loaded: list[str] = []
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(given["id"])
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") not in ("prev", "next", "canonical") and given.get("href"):
            self.loaded.append(given["href"])

    def handle_data(self, data):
        self.words += data


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob("*.html"):
        foreign = [address for address in Page(path).loaded if re.match(r"(https?:)?//", address)]
        assert not foreign, f"{path.name} loads {foreign}"
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_every_subcommand_and_each_of_its_options_is_in_the_reference(site):
    page = Page(site / "reference/command-line.html")
    assert {f"bench-{name}" for name in MODULES} | {"bench-data-check", "bench-data-download"} <= page.anchors
    for option in ("--no-early-stop", "--adversarials", "--tolerance", "[default: 0.005]", "-q, --quiet"):
        assert option in page.words
    assert "bench run --detector gat --threat pgd-l2 --eps 10" in page.words


def test_every_card_has_a_section_and_every_variant_too(site):
    for kind, name in ((Kind.DETECTOR, "detectors"), (Kind.THREAT, "threats"), (Kind.TRACK, "tracks")):
        page, catalog = Page(site / f"reference/{name}.html"), Catalog()
        for card in catalog.names(kind):
            assert card in page.anchors
            assert " ".join(catalog.read(kind, catalog.where(kind, card)).summary.split()) in page.words
            if kind is Kind.DETECTOR:
                assert {f"{card}{variant}" for variant in catalog.detector(card)[0].variants} <= page.anchors


def test_parameters_show_the_cards_value_and_the_codes_explanation(site):
    words = " ".join(Page(site / "reference/threats.html").words.split())
    assert "step_size 2.0 2.0 Length of the first step in units of eps" in words
    assert "points 100 100 Points of the ball that are tried for every image." in words


def test_every_field_of_a_card_is_explained_once(site, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "hooks")
    import card_fields
    import explained
    import source_pages

    models = {model.__name__: model for model in card_fields.parts_of(card_fields.CARDS)}
    parts = set(models)
    args = {source_pages.args_model(name) for name in source_names()} | {DrawnArgs}
    models |= {model.__name__: model for model in args}
    for model in models.values():
        assert set(explained.fields(model)) == set(model.model_fields), model
    written = yaml.safe_load(explained.FIELDS_FILE.read_text(encoding="utf-8"))
    for name, told in written.items():
        own = {field for field in told if field in models[name].model_fields}
        assert own == set(told), f"{name} has no such fields"
        assert not own & set(explained.comments(models[name])), f"the code explains these fields of {name} itself"
    page = Page(site / "reference/cards.html")
    assert {name.lower() for name in parts} <= page.anchors
    assert {DetectorCard.__name__.lower(), OodSpec.__name__.lower(), TrackCard.__name__.lower()} <= page.anchors


def test_every_source_is_on_its_page_with_each_of_its_arguments(site, monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "hooks")
    import source_pages

    page = Page(site / "reference/sources.html")
    assert set(source_names()) | {"packagemodulefunction", "what-can-be-fetched"} <= page.anchors
    words = " ".join(page.words.split())
    for name in source_names():
        with pytest.raises(DataError, match="no-such-argument") as refused:  # the code's own account of them
            load_source(name, {"no-such-argument": 1} | ENOUGH[name], DOCS)
        takes = str(refused.value).partition("its arguments are ")[2].rstrip(".").split(", ")
        assert takes == list(source_pages.args_model(name).model_fields), name
        section = page.words.partition(f"\n{name}¶")[2]
        for argument in takes:
            assert f"\n{argument}\n" in section, (name, argument)
    for name in (*BATCHES, *IDX_COPIES, *IDX):
        assert name in words


def test_the_python_reference_has_what_a_user_calls_and_subclasses(site):
    page = Page(site / "reference/python.html")
    wanted = {
        "bench.evaluate", "bench.report.api.load_results", "bench.report.api.Evaluation.plot",
        "bench.detectors.base.Detector.score", "bench.detectors.base.DetectorInfo",
        "bench.threat_models.base.Threat.attack", "bench.threat_models.base.AttackResult",
        "bench.threat_models.base.Budget", "bench.threat_models.base.Context",
        "bench.testing.check_detector", "bench.testing.check_threat", "bench.metrics.auroc",
    }  # fmt: skip
    assert wanted <= page.anchors
    assert "-> bench.Evaluation" in page.words


@pytest.mark.parametrize(("kind", "file"), [(Kind.DETECTOR, "detectors.md"), (Kind.THREAT, "threats.md")])
def test_every_card_is_named_on_the_page_that_explains_them(kind, file):
    text = (DOCS / file).read_text(encoding="utf-8")
    names = Catalog().names(kind)
    missing = [name for name in names if f"`{name}`" not in text]
    assert not missing, f"docs/{file} does not name {missing}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    for path in DOCS.glob("*.md"):
        assert f" {path.name}\n" in navigation


def heading_anchors(text):
    """What a code host calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", text), re.M)
    plain = (re.sub(r"[`*]|\[|\]\([^)]*\)", "", title).strip().lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]), ids=lambda page: page.name)
def test_links_of_a_page_work_on_a_code_host_too(page):
    """A link is a relative path to a file of the repository; pages that are made have a stand-in, without headings."""
    text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"(https?|mailto):", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor and target.parent != DOCS / "reference":
            assert anchor in heading_anchors(target.read_text(encoding="utf-8")), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", ["own-threat", "own-track", "guard-in-ci"])
def test_files_that_a_page_shows_are_those_of_its_example(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    example = ROOT / re.search(r"^\$ cd (examples/\S+)$", text, re.M)[1]
    shown = re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.M | re.S)
    assert shown
    for file, content in shown:
        assert content == (example / file).read_text(encoding="utf-8"), f"{page}.md shows another {file}"
