"""How far must an image be moved until it crosses the line: our nearest images against those of foolbox and adv-lib.

At equal gradients. On side `evade` the line is the threshold that accepts 95 % of the clean ID images, and OOD images
are attacked; on side `fool` it is the classifier's decision, and ID images that are right are attacked. The figure is
the median radius over all attacked images that are not across as they are; one that is never brought across counts as
infinitely far. Every answer is scored afresh. Peers get the score as two logits, plain and squashed, and the better of
the two counts; on `fool` they get the classifier itself. Needs foolbox and adv-lib.

    python benchmarks/min_norm.py --detectors energy msp gat --limit 100 --json min_norm.json
    python benchmarks/min_norm.py --track cifar10 --detectors energy@resnet4b --ood svhn --threats ddn-l2 fmn-linf
"""

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import foolbox
import torch
from torch import Tensor, nn

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.threat import Norm, Side
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.detectors.untouched import untouched
from bench.evaluation.images import Images
from bench.evaluation.sets import SetChoice
from bench.threat_models import geometry
from bench.threat_models.base import Acceptance, Budget, Context

Peer = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
"""From a model, images, labels and a number of gradients to images."""


@dataclass(frozen=True)
class Arena:
    """One detector, the images that all attacks get, and the line that they are to cross.

    Attributes:
        detector: Frozen.
        side: EVADE or FOOL.
        x: (N, C, H, W) images that are not across.
        labels: (N,) their classes.
        line: The threshold of the score.
        spread: Interquartile range of the clean ID scores.
    """

    detector: Detector
    side: Side
    x: Tensor
    labels: Tensor
    line: float
    spread: float

    def across(self, images: Tensor) -> Tensor:
        """(N,) which images are across the line, by a fresh look."""
        with torch.no_grad(), untouched(self.detector):
            if self.side is Side.FOOL:
                return torch.cat([logits(self.detector, part).argmax(1) for part in images.split(128)]) != self.labels
            return torch.cat([self.detector.score(part) for part in images.split(128)]) > self.line

    def radii(self, images: Tensor, norm: Norm) -> Tensor:
        """(N,) how far they were moved; infinite where that brought them nowhere."""
        images = images.detach().clamp(0, 1)
        return torch.where(self.across(images), geometry.distance(images, self.x, norm), math.inf)


def logits(detector: Detector, x: Tensor) -> Tensor:
    """(N, K) of the classifier inside."""
    found = detector.logits(x)
    assert found is not None
    return found


class Seen(nn.Module):
    """What a peer takes for a classifier: the classifier, or the score as two logits; class 0 is "not yet"."""

    def __init__(self, arena: Arena, *, squashed: bool) -> None:
        super().__init__()
        self.arena, self.squashed = [arena], squashed
        self.somewhere = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, K) logits."""
        arena = self.arena[0]
        if arena.side is Side.FOOL:
            return logits(arena.detector, x)
        past = (arena.detector.score(x) - arena.line) / arena.spread
        past = past / (1.0 + past.abs()) if self.squashed else past
        return torch.stack([torch.zeros_like(past), past], dim=1)


def foolbox_peer(name: str) -> Peer:
    """An attack of foolbox."""

    def run(model: nn.Module, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
        images: Tensor = getattr(foolbox.attacks, name)(steps=steps)(wrapped, x, labels, epsilons=None)[0]
        return images

    return run


def adv_lib_peer(name: str, **settings: object) -> Peer:
    """An attack of adv-lib."""

    def run(model: nn.Module, x: Tensor, labels: Tensor, steps: int) -> Tensor:
        sys.modules.setdefault("visdom", ModuleType("visdom"))  # imported to draw, and nothing is drawn here
        sys.modules["visdom"].__dict__.setdefault("Visdom", object)
        attack = getattr(importlib.import_module("adv_lib.attacks"), name)
        budget = {
            "carlini_wagner_l2": {"max_iterations": max(1, steps // 6), "binary_search_steps": 6},
            "sigma_zero": {"num_steps": steps},
        }.get(name, {"steps": steps})  # fmt: skip
        images: Tensor = attack(model.eval(), x, labels, **budget, **settings)
        return images

    return run


def foolbox_cw(model: nn.Module, x: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Foolbox's CW with six constants."""
    wrapped = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=max(1, steps // 6))
    images: Tensor = attack(wrapped, x, labels, epsilons=None)[0]
    return images


PEERS: dict[str, dict[str, Peer]] = {
    "ddn-l2": {
        "foolbox DDN": foolbox_peer("DDNAttack"),
        "adv-lib ddn": adv_lib_peer("ddn", levels=None),
    },
    "fmn-linf": {
        "foolbox FMN": foolbox_peer("LInfFMNAttack"),
        "adv-lib fmn": adv_lib_peer("fmn", norm=math.inf),
    },
    "sigma-zero": {
        "foolbox FMN": foolbox_peer("L0FMNAttack"),
        "adv-lib fmn": adv_lib_peer("fmn", norm=0),
        "adv-lib sigma_zero": adv_lib_peer("sigma_zero"),
    },
    "cw-l2": {
        "foolbox CW": foolbox_cw,
        "adv-lib CW": adv_lib_peer("carlini_wagner_l2"),
    },
}  # fmt: skip
"""By threat, whom it is compared with."""


def make_arena(name: str, side: Side, options: argparse.Namespace) -> Arena:
    """Load a detector and the images."""
    catalog = Catalog.find(options.workspace)
    card = SetChoice(only=tuple(options.ood)).of(catalog.track(options.track))
    track = Track(catalog.track(options.track))
    spec = catalog.detector_spec(name, card.name)
    detector = load_detector(spec, card, catalog)
    if spec.fit_when_loaded:
        detector.fit(track.training_data())
    detector.eval().requires_grad_(False)
    images = Images.of(track, options.limit, card)
    with torch.no_grad():
        known = torch.cat([detector.score(part) for part in images.calibration.pixels().split(128)]).double()
        low, line, high = torch.quantile(known, torch.tensor([0.25, 0.05, 0.75], dtype=torch.float64)).tolist()
    if side is Side.FOOL:
        x, labels = images.test.pixels(), images.test.labels
    else:
        x = torch.cat([images.ood[ood].pixels() for ood in card.natural()])
        labels = torch.zeros(len(x), dtype=torch.int64)
    arena = Arena(detector, side, x, labels, line, high - low)
    left = ~arena.across(x)
    return Arena(detector, side, x[left], labels[left], line, high - low)


def has_classifier(name: str, options: argparse.Namespace) -> bool:
    """Whether a detector predicts classes."""
    catalog = Catalog.find(options.workspace)
    card = catalog.track(options.track)
    return load_detector(catalog.detector_spec(name, card.name), card, catalog).info.classifier


def ours(arena: Arena, threat: str, steps: int, options: argparse.Namespace) -> tuple[Tensor, float]:
    """Images, and the gradients that one took on average."""
    card = Catalog.find().threat(threat)
    assert card.method is not None
    kind = import_method(card.method)
    budget = {"max_iterations": max(1, steps // 6)} if threat == "cw-l2" else {"steps": steps}
    attack = kind(kind.Params(**{**card.params, **budget, **json.loads(options.params)}))
    context = Context(
        arena.side, labels=arena.labels, acceptance=Acceptance(arena.line, scale=arena.spread),
        micro_batch=options.micro_batch,
    )  # fmt: skip
    ids = torch.arange(len(arena.x))
    result = attack.run(arena.detector, arena.x, ids=ids, budget=Budget(card.norm, None), context=context)
    return result.images, float(result.gradients.double().mean())


def peers(arena: Arena, threat: str, steps: int, norm: Norm) -> Iterator[tuple[str, Tensor]]:
    """(N,) radii of every peer, of its better wrapping."""
    for name, peer in PEERS[threat].items():
        torch.manual_seed(0)
        found = [
            arena.radii(peer(Seen(arena, squashed=squashed), arena.x, arena.labels, steps), norm)
            for squashed in ([False] if arena.side is Side.FOOL else [False, True])
        ]
        yield name, min(found, key=lambda radii: radii.median().item())


def main() -> None:
    """One row a detector, side and threat."""
    options = arguments()
    torch.set_num_threads(1)
    rows = []
    for name in options.detectors:
        for side in map(Side, options.sides):
            if side is Side.FOOL and not has_classifier(name, options):
                continue
            arena = make_arena(name, side, options)
            for threat in options.threats:
                if threat == "cw-l2" and side is not Side.FOOL:
                    continue
                norm = Catalog.find().threat(threat).norm
                assert norm is not None
                for steps in options.steps:
                    started = time.monotonic()
                    images, spent = ours(arena, threat, steps, options)
                    own, seconds = arena.radii(images, norm), time.monotonic() - started
                    others = dict(peers(arena, threat, steps, norm)) if not options.alone else {"none": own}
                    rows.append(row(name, side, threat, steps, spent, own, others, seconds))
                    print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"track": options.track, "limit": options.limit, "rows": rows}, indent=1))


def row(
    name: str, side: Side, threat: str, steps: int, spent: float, own: Tensor, others: dict[str, Tensor], seconds: float
) -> dict[str, object]:
    """The figures of one comparison."""
    medians = {peer: round(radii.median().item(), 5) for peer, radii in others.items()}
    best = min(radii.median().item() for radii in others.values())
    nearest = torch.stack(list(others.values())).amin(dim=0)
    return {
        "detector": name, "side": str(side), "threat": threat, "steps": steps, "gradients": round(spent, 1),
        "images": len(own), "missed": int(own.isinf().sum()), "median": round(own.median().item(), 5), **medians,
        "ahead of the best": round(1 - own.median().item() / best, 4),
        "nearer than all peers, or as near": round((own <= nearest * (1 + 1e-3)).double().mean().item(), 3),
        "seconds": round(seconds, 1),
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--detectors", nargs="+", default=["energy", "msp", "gat"], metavar="NAME", help="or SCORE@NETWORK"
    )
    parser.add_argument("--workspace", type=Path, help="a folder of cards, such as benchmarks/unseen")
    parser.add_argument("--ood", nargs="+", default=[], metavar="SET", help="OOD sets; else all natural ones")
    parser.add_argument("--sides", nargs="+", default=["evade", "fool"], metavar="SIDE")
    parser.add_argument("--threats", nargs="+", default=list(PEERS), metavar="NAME")
    parser.add_argument("--track", default="digits")
    parser.add_argument("--limit", type=int, default=100, help="images of each set")
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 500], help="gradients")
    parser.add_argument("--micro-batch", type=int, default=128)
    parser.add_argument("--params", default="{}", help="JSON, over those of the card")
    parser.add_argument("--alone", action="store_true", help="without peers")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
