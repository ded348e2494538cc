"""The tables of the paper on out-of-distribution attacks of encoders: artificial images with the features of ID ones.

One starting image is led to the features of every ID test image (Liang, Ma, Qian and Chen 2020, Algorithm 1 and
appendices C to J), and AUROC is taken of those ID images against what came of it. Two AUROCs are printed: of the
closest match, as in the paper, and of the image that the score itself chooses on the way. The paper's figures are for
CIFAR-10 or CelebA at eps 10 (L2); they stand beside as what is to be expected. Where nothing else is asked for, each
detector has the paper's starting image and number of steps.

    python benchmarks/feature_matching_paper.py [--track digits] [--only msp,odin] [--starts noise,spiral,2x2,8x8]
        [--images 96] [--steps 1000] [--eps 10] [--update adamax]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench import metrics
from bench.cards.catalog import Catalog
from bench.cards.threat import Norm, Side
from bench.cards.track import TrackCard
from bench.datasets.base import ImageSet, sample_ids
from bench.datasets.sources import load_source
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.errors import BenchError
from bench.evaluation.scoring import Draws, score_images
from bench.threat_models.base import Budget, Context
from bench.threat_models.feature_matching import FeatureMatching, FeatureMatchingParams

MICRO_BATCH = 32
STARTS = ("noise", "spiral", "2x2", "8x8")


@dataclass(frozen=True)
class Row:
    """One detector of the paper, and what the paper says of it.

    Attributes:
        detector: Its name here.
        paper: The paper's AUROC.
        params: Over those of the card.
        match: The features that are matched.
        steps: The paper's N; where it names none, that of most of its other rows.
        start: The paper's starting image.
    """

    detector: str
    paper: str
    params: dict[str, Any] = field(default_factory=dict)
    match: str = "auto"
    steps: int = 1000
    start: str = "noise"

    @property
    def label(self) -> str:
        """Name, parameters and features."""
        parts = [f"{name}={value}" for name, value in self.params.items()]
        return " ".join([self.detector, *parts, *([f"f={self.match}"] if self.match != "auto" else [])])


def paper_rows(track: str) -> list[Row]:
    """Every row of the paper's Tables 2 to 8, and the two methods that it could not break."""
    odin = [
        Row("odin", "0.500", {"temperature": t, "magnitude": m}, steps=100)
        for m in (0.0, 0.001, 0.002, 0.004) for t in (1.0, 10.0, 100.0, 1000.0)
    ]  # fmt: skip
    mahalanobis = "mahalanobis.plain" if track == "digits" else "mahalanobis"
    figures = {(0.0, "score"): "0.500", (0.01, "score"): "0.500", (0.0, "all"): "0.467", (0.01, "all"): "0.179"}
    jem = (("log-density", "0.559"), ("msp", "0.513"), ("gradient-norm", "0.203"))
    return [
        Row("msp", "0.500", steps=100), *odin,
        *(Row(mahalanobis, figure, {"magnitude": m}, match) for (m, match), figure in figures.items()),
        Row("oe", "0.500", steps=10_000), Row("oe", "-", match="score"),
        Row("deep-ensemble", "0.500", steps=10_000), Row("gram", "0.500", steps=100),
        Row("glow.unconditional", "about 0.5", steps=10_000, start="spiral"),
        Row("glow.unconditional", "0.500", {"score": "complexity"}, steps=10_000, start="spiral"),
        *(Row("jem", figure, {"score": score}, start="spiral") for score, figure in jem),
        Row("ccu", "not broken", match="logits"), Row("ccu", "not broken", match="score"),
        Row("autoencoder", "no effect", match="penultimate"), Row("autoencoder", "-", match="score"),
    ]  # fmt: skip


def main() -> None:
    """Attack every detector asked for from every start, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--track", default="digits")
    parser.add_argument(
        "--only", default="", help="how the rows begin, separated by commas, such as `msp,jem score=msp`"
    )
    parser.add_argument("--starts", help=f"{', '.join(STARTS)}, or image files; the paper's unless given")
    parser.add_argument("--images", type=int, default=96, help="ID test images that lead")
    parser.add_argument("--steps", type=int, help="the paper's unless given")
    parser.add_argument("--step-size", type=float, default=0.01, help="alpha in units of eps")
    parser.add_argument("--restarts", type=int, default=1)
    parser.add_argument("--eps", type=float, default=10.0)
    parser.add_argument("--update", choices=["adamax", "plain"], default="adamax")
    parser.add_argument("--schedule", choices=["constant", "cosine"], default="constant")
    options = parser.parse_args()
    torch.set_num_threads(1)
    only = [name for name in options.only.split(",") if name]
    catalog = Catalog.find()
    card = catalog.track(options.track)
    guides = Track(card).set("test").limited(options.images)
    params = FeatureMatchingParams(
        guides="test", pairing="in-order", restarts=options.restarts, step_size=options.step_size,
        schedule=options.schedule, update=options.update,
    )  # fmt: skip
    print(f"{card.name}: {len(guides)} ID test images, L2 eps {options.eps:g}, {options.update}\n")
    print("| detector | start | steps | AUROC before | matched | by score | MAPE % | below 1 % | paper | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in paper_rows(card.name):
        if only and not any(row.label.startswith(name) for name in only):
            continue
        try:
            detector = built(row, card, catalog)
        except BenchError as error:
            print(f"| {row.label} | left out: {error} | | | | | | | {row.paper} | |", flush=True)
            continue
        starts = options.starts.split(",") if options.starts else [row.start]
        asked = params.model_copy(update={"steps": options.steps or row.steps, "match": row.match})
        for line in lines(row, detector, guides, starts, options.eps, asked):
            print(line, flush=True)


def built(row: Row, card: TrackCard, catalog: Catalog) -> Detector:
    """The detector with the row's parameters."""
    spec = catalog.detector_spec(row.detector, card.name)
    spec = spec.model_copy(update={"params": {**spec.params, **row.params}})
    return load_detector(spec, card, catalog)


def lines(
    row: Row, detector: Detector, guides: ImageSet, starts: list[str], eps: float, params: FeatureMatchingParams
) -> Iterator[str]:
    """One line of the table for each start."""
    pool = guides.pixels()
    threat = FeatureMatching(params)
    context = Context(Side.EVADE, pool=pool, micro_batch=MICRO_BATCH)
    inside = score_images(detector, pool, MICRO_BATCH, Draws(guides.ids))
    for start in starts:
        ids = sample_ids(f"start-{start}", len(pool))
        x = starting_image(start, tuple(pool.shape[1:])).expand(len(pool), -1, -1, -1).contiguous()
        began = time.monotonic()
        result = threat.run(detector, x, ids=ids, budget=Budget(Norm.L2, eps), context=context)
        seconds = time.monotonic() - began
        before, matched, best = (
            metrics.auroc(inside, score_images(detector, images, MICRO_BATCH, Draws(ids)))
            for images in (x, result.last_images, result.images)
        )
        mape = result.figures["mape"].numpy()
        yield (
            f"| {row.label} | {start} | {params.steps} | {before:.3f} | {matched:.3f} | {best:.3f} "
            f"| {100 * np.nanmean(mape):.2f} | {100 * np.mean(mape < 0.01):.0f} % | {row.paper} | {seconds:.0f} |"
        )


def starting_image(name: str, shape: tuple[int, ...]) -> Tensor:
    """(1, C, H, W) in [0, 1]: an artificial image, or any image file, scaled to the shape."""
    channels, height, width = shape
    if name in ("noise", "spiral"):
        source = "uniform" if name == "noise" else name
        made = load_source(source, {"count": 1, "seed": 0, "shape": list(shape)}, Path()).images[0]
        return torch.from_numpy(made).permute(2, 0, 1)[None].float() / 255.0
    if name in ("2x2", "8x8"):
        return checkerboard(int(name[0]), shape)
    with Image.open(name) as image:
        scaled = np.asarray(image.convert("L" if channels == 1 else "RGB").resize((width, height)), dtype=np.float32)
    return torch.from_numpy(scaled.reshape(height, width, channels)).permute(2, 0, 1)[None] / 255.0


def checkerboard(cells: int, shape: tuple[int, ...]) -> Tensor:
    """(1, C, H, W) a board of cells x cells black and white fields."""
    channels, height, width = shape
    rows, columns = (torch.arange(side) * cells // side for side in (height, width))
    board = ((rows[:, None] + columns[None, :]) % 2).float()
    return board.expand(1, channels, height, width).contiguous()


if __name__ == "__main__":
    main()
