"""Small workspaces for the tests of cards, catalog and command line, and a browser for those of pages."""

import itertools
import os
import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from object_servers import s3

__all__ = ["s3"]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: waiting threads must not spin
os.environ.setdefault("ROBUSTOOD_WORKERS", "1")  # processes of their own would not see what tests replace
for _size in ("COLUMNS", "LINES"):  # pytest-xdist hands on the size of a terminal
    os.environ.pop(_size, None)

_numbers = itertools.count()

CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

TRACK = """
    name: toy
    summary: two classes of small images
    shape: [1, 8, 8]
    classes: 2
    train: {source: "METHODS:images"}
    calibration: {source: "METHODS:images"}
    test: {source: "METHODS:images"}
    ood:
      noise: {source: "METHODS:images"}
"""
THREAT = """
    name: shove
    summary: a step that any image survives
    method: METHODS:Shove
    norm: l2
    eps: [8/255, 0.5]
    knowledge: none
    params: {steps: 3}
"""
DETECTOR = """
    name: flat
    summary: the mean of an image
    method: METHODS:Flat
    params: {scale: 2.0}
    tracks:
      toy: {}
    variants:
      steep: {summary: ten times the mean, params: {scale: 10.0}}
"""
NETWORK = """
    name: net
    summary: a classifier
    track: toy
    method: METHODS:Net
    weights: [{file: toy.safetensors}]
    recorded: {id_accuracy: 0.9}
"""
METHODS = """
    from bench.detectors.base import Detector, DetectorInfo, DetectorParams
    from bench.threat_models.base import Threat, ThreatParams

    class FlatParams(DetectorParams):
        scale: float = 1.0

    class Flat(Detector):
        info = DetectorInfo(classifier=False)
        Params = FlatParams

        def score(self, x, *, noise=None):
            return self.params.scale * x.flatten(1).mean(1)

    class ShoveParams(ThreatParams):
        steps: int = 1

    class Shove(Threat):
        Params = ShoveParams

        def attack(self, detector, x, *, ids, budget, context):
            raise NotImplementedError

    def images(args, data_dir):
        raise NotImplementedError
"""


class CardFolder:
    """A workspace in a temporary folder, and a module of its own with the methods that its cards name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.module = f"methods_{next(_numbers)}"
        for folder in ("datasets", "detectors", "threat_models"):
            (root / folder).mkdir(parents=True)
        (root / "robustood.toml").write_text("[workspace]\n")

    def card(self, path: str, text: str) -> Path:
        """Write a card; METHODS in it stands for the workspace's module."""
        file = self.root / path
        file.write_text(textwrap.dedent(text).lstrip().replace("METHODS", self.module))
        return file

    def with_toys(self) -> "CardFolder":
        """Add a track `toy`, a threat `shove` and a detector `flat` with a variant `steep`."""
        (self.root / f"{self.module}.py").write_text(textwrap.dedent(METHODS))
        self.card("datasets/toy.yaml", TRACK)
        self.card("threat_models/shove.yaml", THREAT)
        self.card("detectors/flat.yaml", DETECTOR)
        return self

    def with_network(self) -> "CardFolder":
        """Add a network `net` for the track `toy`, on which scores stand there."""
        (self.root / "detectors" / "networks").mkdir(exist_ok=True)
        self.card("detectors/networks/net.yaml", NETWORK)
        self.card("datasets/toy.yaml", TRACK.rstrip() + "\n    network: net\n")
        return self


@pytest.fixture
def empty_cards(tmp_path: Path) -> Callable[[str], CardFolder]:
    """Makes workspaces without cards, by name."""
    return lambda name: CardFolder(tmp_path / name)


@pytest.fixture
def toy_cards(empty_cards: Callable[[str], CardFolder]) -> CardFolder:
    """A workspace with one card of each kind, all of them valid."""
    return empty_cards("workspace").with_toys()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the test skips where there is none."""
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        found = str(own) if own.exists() else next(filter(None, map(shutil.which, CHROMIUMS)), None)
        if found is None:
            pytest.skip("no Chromium: `playwright install chromium`, or one of the system")
        # A process of the administrator has no sandbox of its own to go into.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=found, args=root)
        yield chromium
        chromium.close()


@pytest.fixture
def watched(browser):
    """Opens pages by address; when the test is over, nothing was complained of and only pages of one folder loaded."""
    complaints, requests, contexts, addresses = [], [], [], []

    def open_page(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        addresses.append(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    folder = addresses[0].rpartition("/")[0] + "/"
    assert not [url for url in requests if not url.startswith(("data:", folder))]
