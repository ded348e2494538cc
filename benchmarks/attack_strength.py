"""Are robustood's attacks at least as strong as those of other libraries that spend the same number of gradients?

Each peer attacks the detector's objective itself, never a classification loss on wrapped scores; its best image among
all restarts is taken by the score, and the clean image where none is better; of its step sizes the best one counts.
The AUROC is the mean over the natural OOD sets, lower is stronger. `auto` is the best of the two ascents of that suite
with half of the restarts each (the odd one is `apgd`'s); what its other members find, at a cost of their own, is left
out. It is behind a peer where its AUROC is higher by more than a standard error of the paired difference over images
(DeLong), ahead of all where it is lower by more than that than the best of them, and else level.
Needs foolbox; torchattacks, which pins an old `requests`, takes part after `pip install --no-deps torchattacks`, and
adv-lib after `pip install --no-deps adv-lib tqdm`.

    python benchmarks/attack_strength.py --detectors msp energy mahalanobis --balls l2:1 linf:8/255 --limit 100
    python benchmarks/attack_strength.py --track cifar10 --detectors energy@resnet4b msp@cnn-a-adv --ood svhn dtd \
        --balls l2:0.25 --limit 50 --json strength.json

Networks on which no attack was tuned are in `benchmarks/unseen`, a workspace: train them by `bench train --workspace
benchmarks/unseen --network transformer-digits` (a minute) and `residual-fashion`, then name `--workspace
benchmarks/unseen --network transformer-digits`. The rows of a `--json` file that is there already are not computed
again.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from attack_peers import OneStart, adv_lib_apgd, foolbox_pgd, torchattacks_apgd, torchattacks_pgd
from torch import Tensor

from bench import metrics
from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.threat import Norm, Side, ThreatCard
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.evaluation.eps import parse_eps
from bench.evaluation.images import Images
from bench.evaluation.scoring import Draws, Scores, score_images
from bench.evaluation.sets import SetChoice
from bench.threat_models.base import Budget, Context

DETECTORS = ("msp", "energy", "odin", "mahalanobis", "oe", "gat", "gram", "sdim", "jem")
OURS = ("pgd", "apgd", "auto")
PEERS = {
    "foolbox-pgd": ("foolbox", foolbox_pgd), "torchattacks-pgd": ("torchattacks", torchattacks_pgd),
    "torchattacks-apgd": ("torchattacks", torchattacks_apgd), "adv-lib-apgd": ("adv_lib", adv_lib_apgd),
}  # fmt: skip
"""By name, the library and the attack; one that is called a pgd has step sizes, of which the best one counts."""


@dataclass(frozen=True)
class Arena:
    """One detector with the images that all attacks get.

    Attributes:
        detector: Frozen.
        images: The sets of the track.
        x: (N, C, H, W) the images of all natural OOD sets.
        clean: (N,) their scores.
        id_scores: Clean scores of the ID test images.
        norm: Of the ball.
        eps: Its radius.
        options: The command line.
    """

    detector: Detector
    images: Images
    x: Tensor
    clean: Scores
    id_scores: Scores
    norm: Norm
    eps: float
    options: argparse.Namespace

    @property
    def beyond(self) -> float:
        """A score above which nothing changes an AUROC any more; attacks may stop there."""
        return float(self.id_scores.max()) + 1e-3 * metrics.iqr(self.id_scores)

    def score(self, x: Tensor) -> Scores:
        """Fresh scores."""
        return fresh_scores(self.detector, x, self.options.micro_batch)

    def sets(self, scores: Scores) -> list[Scores]:
        """The scores of each OOD set."""
        sizes = [len(self.images.ood[name]) for name in self.images.card.natural()]
        return np.split(scores, np.cumsum(sizes)[:-1])

    def auroc(self, scores: Scores) -> metrics.AurocEstimate:
        """Mean over the OOD sets."""
        return metrics.mean_over_sets(self.id_scores, self.sets(scores))

    def gap(self, ours: Scores, peer: Scores) -> metrics.Difference:
        """The AUROC that ours leaves minus what a peer leaves: above 0 where the peer is stronger."""
        return metrics.paired_mean_difference(self.id_scores, self.sets(ours), self.id_scores, self.sets(peer))


def main() -> None:
    """One row a detector and ball."""
    options = arguments()
    torch.set_num_threads(1)
    rows = json.loads(options.json.read_text()) if options.json and options.json.exists() else []
    spent = options.steps * options.restarts
    print(f"{options.track}, {options.limit} images a set, {spent} gradients an image")
    columns = [*options.ours, *options.peers]
    print(" ".join([f"{'detector, ball':<40} clean ", *(f"{name:>17}" for name in columns), " difference (paired SE)"]))
    for name in options.detectors:
        detector: Detector | None = None
        for norm, eps in options.balls:
            asked = settings(name, norm, eps, options)
            row = next((row for row in rows if row["asked"] == asked), None)
            if row is None:
                detector = detector or load(name, options)
                row = {"asked": asked, **measured(make_arena(detector, norm, eps, options))}
                rows.append(row)
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1) + "\n")
            print(line(row, columns), flush=True)


def settings(name: str, norm: Norm, eps: float, options: argparse.Namespace) -> dict[str, object]:
    """All that a row depends on, but for the code."""
    named = {key: getattr(options, key) for key in ("track", "limit", "steps", "restarts", "seed", "ours", "peers")}
    sets = {"ood": options.ood, "step sizes": options.step_sizes}
    return {"detector": name, "norm": str(norm), "eps": round(eps, 6), **named, **sets}


def measured(arena: Arena) -> dict[str, object]:
    """The figures of one row."""
    started = time.monotonic()
    found = ours(arena)
    others = {name: peer(arena, name) for name in arena.options.peers}
    figures = {name: arena.auroc(scores).auroc for name, scores in {**found, **others}.items()}
    best = min(others, key=lambda name: figures[name])
    gaps = {name: arena.gap(found["auto"], scores) for name, scores in others.items()}
    behind = [name for name, gap in gaps.items() if gap.difference > gap.se]
    ahead = all(-gap.difference > gap.se for gap in gaps.values())
    return {
        "images": len(arena.x), "clean": arena.auroc(arena.clean).auroc, "figures": figures,
        "se": arena.auroc(found["auto"]).se, "best peer": best,
        "difference": gaps[best].difference, "paired se": gaps[best].se,
        "gaps": {name: [gap.difference, gap.se] for name, gap in gaps.items()},
        "verdict": "BEHIND " + ", ".join(behind) if behind else "ahead" if ahead else "level",
        "seconds": round(time.monotonic() - started),
    }  # fmt: skip


def line(row: dict[str, object], columns: list[str]) -> str:
    """For people."""
    asked, figures = row["asked"], row["figures"]
    assert isinstance(asked, dict) and isinstance(figures, dict)
    what = f"{asked['detector']}, {asked['norm']} {asked['eps']:.4g}"
    cells = [f"{figures[name]:>17.4f}" for name in columns]
    said = f"{row['difference']:+.4f} ({row['paired se']:.4f}) {row['best peer']}: {row['verdict']}, {row['seconds']} s"
    return " ".join([f"{what:<40} {row['clean']:.4f}", *cells, f" {said}"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), metavar="NAME", help="or SCORE@NETWORK")
    parser.add_argument("--network", help="what the scores stand on that name no network")
    parser.add_argument("--workspace", type=Path, help="a folder of cards, such as benchmarks/unseen")
    parser.add_argument("--track", default="digits", help="a catalog name")
    parser.add_argument("--ood", nargs="+", default=[], metavar="SET", help="OOD sets; else all natural ones")
    parser.add_argument("--balls", nargs="+", default=["l2:1"], metavar="BALL", help="norm and radius: linf:8/255")
    parser.add_argument("--limit", type=int, default=100, help="images of each set")
    parser.add_argument("--steps", type=int, default=100, help="gradients of each restart")
    parser.add_argument("--restarts", type=int, default=5, help="starts of every attack, 4 or more; auto halves them")
    parser.add_argument("--ours", nargs="+", choices=OURS, default=list(OURS), help="auto is always among them")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="else all that are installed")
    parser.add_argument(
        "--step-sizes", nargs="+", type=float, default=[0.02, 0.025, 0.1, 0.25, 1.0], help="of peers, in units of eps"
    )
    parser.add_argument("--micro-batch", type=int, default=128, help="images a pass")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="keep rows here, and take those that are here already")
    options = parser.parse_args()
    if options.restarts < 4:
        parser.error(
            f"--restarts is {options.restarts}; give 4 or more: auto's two ascents begin at the clean image first."
        )
    options.balls = [(norm, eps) for ball in options.balls for norm, radii in parse_eps(ball).by_norm.items()
                     for eps in radii]  # fmt: skip
    options.ours = [name for name in OURS if name in {*options.ours, "auto"}]
    options.peers = options.peers or [name for name, (library, _) in PEERS.items() if importlib.util.find_spec(library)]
    if options.network is not None:
        options.detectors = [name if "@" in name else f"{name}@{options.network}" for name in options.detectors]
    return options


def load(name: str, options: argparse.Namespace) -> Detector:
    """A detector, fitted."""
    catalog = Catalog.find(options.workspace)
    card = catalog.track(options.track)
    spec = catalog.detector_spec(name, card.name)
    detector = load_detector(spec, card, catalog)
    if detector.info.random:
        raise SystemExit(f"{name} draws random numbers, over which the peers do not average; choose another detector.")
    if spec.fit_when_loaded:
        detector.fit(Track(card).training_data())
    return detector


def make_arena(detector: Detector, norm: Norm, eps: float, options: argparse.Namespace) -> Arena:
    """The images of the track, scored."""
    track = Track(Catalog.find(options.workspace).track(options.track))
    card = SetChoice(only=tuple(options.ood)).of(track.card)
    images = Images.of(track, options.limit, card)
    x = torch.cat([images.ood[ood].pixels() for ood in card.natural()])
    id_scores, clean = (fresh_scores(detector, part, options.micro_batch) for part in (images.test.pixels(), x))
    return Arena(detector, images, x, clean, id_scores, norm, eps, options)


def fresh_scores(detector: Detector, x: Tensor, micro_batch: int) -> Scores:
    """Scores of a detector that draws nothing, so that it does not matter which ids its noise would come from."""
    return score_images(detector, x, micro_batch, Draws(torch.arange(len(x))))


# --------------------------------------------------------------------------- ours


def ours(arena: Arena) -> dict[str, Scores]:
    """`pgd` and `apgd` with all restarts each, and the best of both with half of them each."""
    catalog, restarts = Catalog.find(arena.options.workspace), arena.options.restarts
    cards = {name: catalog.threat(f"{name}-{arena.norm}") for name in ("pgd", "apgd")}
    results = {
        name: run_threat(arena, card, restarts=restarts) for name, card in cards.items() if name in arena.options.ours
    }
    shares = {"pgd": restarts // 2, "apgd": restarts - restarts // 2}
    halves = [run_threat(arena, card, restarts=shares[name]) for name, card in cards.items()]
    return {**results, "auto": np.maximum.reduce(halves)}


def run_threat(arena: Arena, card: ThreatCard, *, restarts: int) -> Scores:
    """Scores after one of robustood's attacks."""
    assert card.method is not None
    kind = import_method(card.method)
    threat = kind(kind.Params(**{**card.params, "steps": arena.options.steps, "restarts": restarts}))
    context = Context(
        Side.EVADE, seed=arena.options.seed, stop_target=arena.beyond, micro_batch=arena.options.micro_batch
    )
    ids = torch.cat([arena.images.ood[name].ids for name in arena.images.card.natural()])
    found = threat.run(arena.detector, arena.x, ids=ids, budget=Budget(arena.norm, arena.eps), context=context)
    return np.maximum(arena.score(found.images), arena.clean)


# --------------------------------------------------------------------------- peers


def peer(arena: Arena, name: str) -> Scores:
    """Scores after the attack of another library."""
    _, make = PEERS[name]
    found = (arena.detector, arena.norm, arena.eps, arena.options.steps)
    if not name.endswith("-pgd"):
        return strongest(arena, iter([make(*found)]))  # type: ignore[operator]
    return strongest(arena, (make(*found, step_size=arena.eps * size) for size in arena.options.step_sizes))  # type: ignore[operator]


def strongest(arena: Arena, attacks: Iterator[OneStart]) -> Scores:
    """Scores of the attack with the lowest AUROC, each with all restarts."""
    return min((all_restarts(arena, attack) for attack in attacks), key=lambda scores: arena.auroc(scores).auroc)


def all_restarts(arena: Arena, attack: OneStart) -> Scores:
    """The best score of every image over the restarts; the clean one where nothing valid is better."""
    best = arena.clean.copy()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arena.options.seed)
        for _ in range(arena.options.restarts):
            rows = np.flatnonzero(best <= arena.beyond)
            for part in np.array_split(rows, -(-len(rows) // arena.options.micro_batch)) if len(rows) else []:
                found = attack(arena.x[torch.from_numpy(part)])
                scores = np.nan_to_num(arena.score(found.detach()), nan=-np.inf)
                best[part] = np.maximum(best[part], np.where(feasible(arena, found, part), scores, -np.inf))
    return best


def feasible(arena: Arena, found: Tensor, rows: np.ndarray) -> np.ndarray:
    """(R,) whether images are inside ball and box; peers are allowed a rounding."""
    delta = (found - arena.x[torch.from_numpy(rows)]).flatten(1).double()
    length = delta.norm(dim=1) if arena.norm is Norm.L2 else delta.abs().amax(dim=1)
    inside = (length <= arena.eps * (1 + 1e-4)) & ((found >= 0) & (found <= 1)).flatten(1).all(dim=1)
    return inside.numpy()


if __name__ == "__main__":
    main()
