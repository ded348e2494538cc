"""Are robustood's attacks at least as strong as those of other libraries that spend the same number of gradients?

Each peer attacks the detector's objective itself, never a classification loss on wrapped scores; its best image among
all restarts is taken by the score, and the clean image where none is better; of its step sizes the best one counts.
The AUROC is the mean over the natural OOD sets, lower is stronger. `auto` is the best of the two ascents of that suite
with half of the restarts each (the odd one is `apgd`'s); what its other members find, at a cost of their own, is left
out.
Needs foolbox; torchattacks, which pins an old `requests`, takes part after `pip install --no-deps torchattacks`.

    python benchmarks/attack_strength.py --norm l2 --eps 1 --limit 100 --detectors msp energy mahalanobis
"""

import argparse
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from attack_peers import OneStart, foolbox_pgd, torchattacks_apgd, torchattacks_pgd
from torch import Tensor

from bench import metrics
from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method
from bench.cards.threat import Norm, Side, ThreatCard
from bench.datasets.track import Track
from bench.detectors.base import Detector
from bench.detectors.loading import load_detector
from bench.evaluation.images import Images
from bench.evaluation.scoring import Draws, Scores, score_images
from bench.threat_models.base import Budget, Context

DETECTORS = ("msp", "energy", "odin", "mahalanobis", "oe", "gat", "gram", "sdim", "jem")


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


def main() -> None:
    """One row a detector."""
    options = arguments()
    torch.set_num_threads(1)
    norm, eps = Norm(options.norm), float(Fraction(options.eps)) if "/" in options.eps else float(options.eps)
    print(
        f"{options.track}, {norm} {eps:.4g}, {options.limit} images a set, {options.steps * options.restarts} gradients"
    )
    for number, name in enumerate(options.detectors):
        started = time.monotonic()
        arena = make_arena(name, norm, eps, options)
        results = {"clean": arena.clean, **ours(arena), **peers(arena)}
        if number == 0:
            print(" ".join([f"{'detector':<14}", *(f"{column:>14}" for column in results), "    se  verdict"]))
        figures = [arena.auroc(scores) for scores in results.values()]
        cells = [f"{figure.auroc:>14.4f}" for figure in figures]
        print(" ".join([f"{name:<14}", *cells, f"{figures[3].se:.4f} ", verdict(arena, results)]), flush=True)
        if options.verbose:
            print(f"{'':<14} {time.monotonic() - started:.0f} s", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detectors", nargs="+", default=list(DETECTORS), metavar="NAME", help="catalog names")
    parser.add_argument("--track", default="digits", help="a catalog name")
    parser.add_argument("--norm", choices=[str(norm) for norm in Norm], default="l2")
    parser.add_argument("--eps", default="1", help="radius in [0, 1] pixel units; 8/255 is understood")
    parser.add_argument("--limit", type=int, default=100, help="images of each set")
    parser.add_argument("--steps", type=int, default=100, help="gradients of each restart")
    parser.add_argument("--restarts", type=int, default=10, help="starts of every attack, 4 or more; auto halves them")
    parser.add_argument("--micro-batch", type=int, default=128, help="images a pass")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", action="store_true", help="also say how long each detector took")
    options = parser.parse_args()
    if options.restarts < 4:
        parser.error(
            f"--restarts is {options.restarts}; give 4 or more: auto's two ascents begin at the clean image first."
        )
    return options


def make_arena(name: str, norm: Norm, eps: float, options: argparse.Namespace) -> Arena:
    """Load a detector and the images."""
    catalog = Catalog.find()
    card = catalog.track(options.track)
    track = Track(card)
    spec = catalog.detector_spec(name, card.name)
    detector = load_detector(spec, card, catalog)
    if detector.info.random:
        raise SystemExit(f"{name} draws random numbers, over which the peers do not average; choose another detector.")
    if spec.fit_when_loaded:
        detector.fit(track.training_data())
    images = Images.of(track, options.limit)
    x = torch.cat([images.ood[ood].pixels() for ood in card.natural()])
    id_scores, clean = (fresh_scores(detector, part, options.micro_batch) for part in (images.test.pixels(), x))
    return Arena(detector, images, x, clean, id_scores, norm, eps, options)


def fresh_scores(detector: Detector, x: Tensor, micro_batch: int) -> Scores:
    """Scores of a detector that draws nothing, so that it does not matter which ids its noise would come from."""
    return score_images(detector, x, micro_batch, Draws(torch.arange(len(x))))


def verdict(arena: Arena, results: dict[str, Scores]) -> str:
    """Whether `auto` is behind any peer by more than a standard error of the paired difference."""
    behind = []
    for peer in list(results)[4:]:
        sets = (arena.sets(results[which]) for which in ("auto", peer))
        gap = metrics.paired_mean_difference(arena.id_scores, next(sets), arena.id_scores, next(sets))
        if gap.difference > gap.se:
            behind.append(f"BEHIND {peer} by {gap.difference:.4f} (se {gap.se:.4f})")
    return "; ".join(behind) or "not behind"


# --------------------------------------------------------------------------- ours


def ours(arena: Arena) -> dict[str, Scores]:
    """`pgd` and `apgd` with all restarts each, and the best of both with half of them each."""
    catalog, restarts = Catalog.find(), arena.options.restarts
    cards = {name: catalog.threat(f"{name}-{arena.norm}") for name in ("pgd", "apgd")}
    results = {name: run_threat(arena, card, restarts=restarts) for name, card in cards.items()}
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


def peers(arena: Arena) -> dict[str, Scores]:
    """Scores after the attacks of other libraries."""
    steps = arena.options.steps
    sizes = sorted({arena.eps * share for share in (1 / 50, 1 / 10, 1 / 4, 1.0, 2.5 / steps)})
    found = (arena.detector, arena.norm, arena.eps, steps)
    results = {"foolbox PGD": strongest(arena, (foolbox_pgd(*found, step_size=size) for size in sizes))}
    if importlib.util.find_spec("torchattacks") is None:
        return results
    results["torchatt. PGD"] = strongest(arena, (torchattacks_pgd(*found, step_size=size) for size in sizes))
    results["AutoAtt. APGD"] = strongest(arena, iter([torchattacks_apgd(*found)]))
    return results


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
