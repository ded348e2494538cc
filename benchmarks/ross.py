"""ROSS attacked as its own evaluation does, at the same radius in pixels, and through its noise.

    python benchmarks/ross.py --ood svhn --limit 100
    python benchmarks/ross.py --ood svhn --limit 50 --only adaptive --eps 2 --steps 20

AUROC of clean test images against attacked OOD images, for the base score and for ROSS. Three attackers:

- protocol: the published evaluation. eps/255 counts in normalised units, pixels may leave [0, 1], the target is the
  base score of the image itself, and the last of 40 steps of eps/30 from a random start counts.
- pixels: the same attack, but eps/255 counts in pixels, which stay in [0, 1]. Nothing in it knows of ROSS.
- adaptive: in pixels as well; the target is the mean base score of copies with noise that is new at every step.

ROSS scores what is found with noise that no attack saw.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.cards.catalog import Catalog
from bench.cards.threat import Side
from bench.datasets.base import TrainingData
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.detectors.ross import ROSS
from bench.evaluation.scoring import Draws, score_images
from bench.metrics import auroc
from bench.threat_models.base import Context
from bench.threat_models.objectives import noise_source

BATCH = 64

Target = Callable[[Tensor, Tensor, int], Tensor]
"""From (N, C, H, W) images, their ids and the number of the step to (N,) what is raised."""


@dataclass(frozen=True)
class Attacker:
    """One column of the table.

    Attributes:
        name: What it is called.
        scale: (C, 1, 1) how long a unit of eps is in pixels.
        box: Pixels stay in [0, 1].
        target: What is raised.
    """

    name: str
    scale: Tensor
    box: bool
    target: Target


def attackers(ross: ROSS) -> Iterator[Attacker]:
    """The three of them."""
    assert ross.network is not None

    def base(x: Tensor, ids: Tensor, step: int) -> Tensor:
        return ross.score(x)

    def through_noise(x: Tensor, ids: Tensor, step: int) -> Tensor:
        context = Context(Side.EVADE, seed=1, draws=1)
        return ross.noisy_score_and_objective(x, noise_source(ids, step, context))[1]

    pixel = torch.ones_like(ross.network.std)
    yield Attacker("protocol", ross.network.std, box=False, target=base)
    yield Attacker("pixels", pixel, box=True, target=base)
    yield Attacker("adaptive", pixel, box=True, target=through_noise)


def attack(attacker: Attacker, x: Tensor, ids: Tensor, eps: float, steps: int) -> Tensor:
    """(N, C, H, W) the last iterates, from a random start in the ball, by steps that sum to 4/3 eps."""
    radius = eps * attacker.scale
    start = Context(Side.EVADE, seed=0).uniform(ids, 0, tuple(x.shape[1:]))
    low, high = x - radius, x + radius
    if attacker.box:
        low, high = low.clamp_min(0.0), high.clamp_max(1.0)
    found = torch.clamp(x + radius * (2.0 * start - 1.0), low, high)
    for step in range(steps):
        leaf = found.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(attacker.target(leaf, ids, step).sum(), leaf)
        found = torch.clamp(found + radius * 4 / (3 * steps) * slope.sign(), low, high)
    return found


def figures(ross: ROSS, energy: Detector, clean: dict[str, object], x: Tensor, ids: Tensor) -> dict[str, float]:
    """AUROC of both against these OOD images."""
    found = {}
    for name, detector in (("energy", energy), ("ross", ross)):
        scores = score_images(detector, x, BATCH, Draws(ids, round=2))
        found[name] = round(float(auroc(clean[name], scores)), 3)
    return found


def main() -> None:
    """Measure, and print one JSON line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--track", default="cifar10")
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--ood", default="svhn")
    parser.add_argument("--limit", type=int, default=100, help="OOD images; four times as many ID images")
    parser.add_argument("--eps", default="2,8,16", help="in 255ths")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", default="protocol,pixels,adaptive")
    options = parser.parse_args()
    catalog = Catalog()
    track = Track(catalog.track(options.track))
    ross, energy = (
        load_detector(catalog.detector_spec(f"{name}@{options.network}", track.card.name), track.card, catalog)
        for name in ("ross", "energy")
    )
    assert isinstance(ross, ROSS)
    ross.requires_grad_(False)
    ross.fit(TrainingData(track.set("train"), track.set("calibration"), None, track.card.classes))
    inside, outside = track.set("test").limited(4 * options.limit), track.set(options.ood).limited(options.limit)
    clean = {
        name: score_images(each, inside.pixels(), BATCH, Draws(inside.ids))
        for name, each in (("energy", energy), ("ross", ross))
    }
    about = {"ood": options.ood, "images": len(outside), "id": len(inside)}
    x = outside.pixels()
    print(json.dumps(about | {"attack": "none"} | figures(ross, energy, clean, x, outside.ids)), flush=True)
    for attacker in attackers(ross):
        for eps in options.eps.split(",") if attacker.name in options.only.split(",") else ():
            parts = [
                attack(attacker, x[rows], outside.ids[rows], float(eps) / 255, options.steps)
                for rows in torch.arange(len(x)).split(BATCH)
            ]
            told = {"attack": attacker.name, "eps": f"{eps}/255", "steps": options.steps}
            print(json.dumps(about | told | figures(ross, energy, clean, torch.cat(parts), outside.ids)), flush=True)


if __name__ == "__main__":
    main()
