"""The folder that the commands of a page run in: the catalog as it is, with cards that make the same cost less.

The commands are not rewritten; what they name is smaller. A threat takes few steps, and a track whose images have to be
downloaded has made-up ones. Figures are not what these runs are about.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import yaml
from doc_pages import CHECKOUT

from bench.cards.catalog import Catalog, Kind
from bench.cards.folders import MARKER
from bench.datasets.base import content_digest

LIMIT = 4
"""Images of each set, where a command would take more."""

SMALLER = {
    "steps": 2, "restarts": 1, "queries": 20, "points": 2, "nearest": 1, "drawn": 1, "pairs": 4, "rounds": 2,
    "starts": 4, "max_iterations": 2, "binary_search_steps": 1, "candidates": 2,
}  # fmt: skip
"""The most that a parameter of a threat's card is left at."""

COPIED = ("examples", "benchmarks", "leaderboards/baselines", "docs/images")
IMAGES = 40  # of every made-up set
MICRO_BATCH = 16  # images a pass, to which every batch is padded


def make_folder(root: Path, page: str) -> Path:
    """The folder that a page's first command runs in: a checkout's, or of an example's page a copy of that example."""
    for part in COPIED:
        left_out = shutil.ignore_patterns("runs", "weights", "__pycache__", "*.pt", "*.pt2", "check.*")
        if (CHECKOUT / part).is_dir():
            shutil.copytree(CHECKOUT / part, root / part, ignore=left_out)
    (root / MARKER).touch()
    start = root / page
    return start.parent if page.startswith("examples/") else root


def add_cards(folder: Path, data_dir: Path) -> None:
    """Put the smaller cards into the workspace that a folder belongs to, beside the cards that it has."""
    workspace = next((above for above in (folder, *folder.parents) if (above / MARKER).is_file()), None)
    for path, text in _smaller_cards(data_dir).items() if workspace is not None else ():
        file = workspace / path
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)


def smaller_track(card: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """A track's card whose rows are about `LIMIT` images, and whose files are made-up ones in a folder of data."""
    sets = {"train": card["train"], "calibration": card["calibration"], "test": card["test"], **card["ood"]}
    sets |= {f"outliers-{k}": spec for k, spec in enumerate(card.get("outliers", ()))}
    changed = {name: _made_up(card, name, spec, data_dir) for name, spec in sets.items()}
    own = {name: changed[name] for name in ("train", "calibration", "test")}
    outliers = [changed[f"outliers-{k}"] for k in range(len(card.get("outliers", ())))]
    ood = {name: changed[name] for name in card["ood"]}
    return {**card, **own, "ood": ood, "outliers": outliers, "suite_limit": LIMIT}


def smaller_threat(card: dict[str, Any]) -> dict[str, Any]:
    """A threat's card with less of every parameter that costs."""
    card = {**card, "params": _less(card.get("params", {}))}
    if "source" in card:
        card["source"] = {**card["source"], "params": _less(card["source"].get("params", {}))}
    return card


def smaller_detector(card: dict[str, Any]) -> dict[str, Any]:
    """A detector's card whose batches are small; its scores, and its hash, are the same."""
    variants = {name: _small_batches(variant) for name, variant in card.get("variants", {}).items()}
    return {**_small_batches(card), **({"variants": variants} if variants else {})}


def _small_batches(part: dict[str, Any]) -> dict[str, Any]:
    on_tracks = {name: {**settings, "micro_batch": MICRO_BATCH} for name, settings in part.get("tracks", {}).items()}
    return {**part, **({"tracks": on_tracks} if on_tracks else {})}


def _less(params: dict[str, Any]) -> dict[str, Any]:
    return {name: min(value, SMALLER[name]) if name in SMALLER else value for name, value in params.items()}


def _made_up(card: dict[str, Any], name: str, spec: dict[str, Any], data_dir: Path) -> dict[str, Any]:
    """A set's settings, with random images of the right format in place of files that would be downloaded."""
    if spec["source"] not in ("npz", "torchvision"):
        return spec
    channels, side, _ = card["shape"]
    side = spec.get("crop") or side - 2 * spec.get("pad", 0)
    file = data_dir / f"{card['name']}-{name}.npz"
    rng = np.random.default_rng(crc32(file.name.encode()))
    shape = (IMAGES, side, side, 3 if spec.get("grey") else channels)
    images, labels = rng.integers(0, 256, shape, dtype=np.uint8), np.arange(IMAGES, dtype=np.int64) % card["classes"]
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        np.savez(file, images=images, labels=labels)
    kept = {key: value for key, value in spec.items() if key not in ("start", "stop")}
    return {**kept, "source": "npz", "args": {"file": file.name}, "digest": content_digest(images, labels)}


@cache
def _smaller_cards(data_dir: Path) -> dict[str, str]:
    """The text of every smaller card by its place in a workspace."""
    shrink = {
        Kind.THREAT: smaller_threat,
        Kind.DETECTOR: smaller_detector,
        Kind.TRACK: lambda card: smaller_track(card, data_dir),
    }
    catalog, texts = Catalog(), {}
    for kind, smaller in shrink.items():
        for name in catalog.names(kind):
            card = yaml.load(catalog.where(kind, name).read_text(), yaml.CSafeLoader)
            texts[f"{kind.folder}/{name}.yaml"] = yaml.dump(smaller(card), Dumper=yaml.CSafeDumper, sort_keys=False)
    return texts
