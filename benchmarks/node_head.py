"""A detector with a neural ODE behind its features, attacked by adjoint gradients, by exact ones, and by scores alone.

    pip install torchdiffeq
    python benchmarks/node_head.py --limit 100

On digits. The features h of the track's classifier are moved by dh/dt = f(h) from t = 0 to T, and classified; the head
is trained here, in seconds. The score is the energy of the logits. In evaluation the library's `dopri5` integrates at
rtol = atol = `--tolerance`. Two gradients of the same score:

- adjoint: `odeint_adjoint`, a second equation that is solved backwards at the same tolerance; approximate.
- exact: backpropagation through the steps that the solver took.

One JSON line a figure: what D2 and D3 measure of each gradient (the share of images without one, and the relative error
of central differences along it), and the AUROC that PGD leaves by each; of `square` too, which asks for scores alone.
"""

import argparse
import json
from statistics import median

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from bench.cards.catalog import Catalog
from bench.cards.threat import Norm, Side
from bench.datasets.base import ImageSet
from bench.datasets.track import Track
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.loading import load_detector
from bench.evaluation.scoring import Draws, score_images
from bench.metrics import auroc
from bench.threat_models.base import Budget, Context, Threat
from bench.threat_models.pgd import PGD, PGDParams
from bench.threat_models.square import Square, SquareParams

BATCH, WIDTH, CLASSES = 128, 128, 10
SETS = ("letters", "photos")


class Field(nn.Module):
    """f of dh/dt = f(h)."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.inner, self.outer, self.sharpness = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH), sharpness

    def forward(self, t: Tensor, h: Tensor) -> Tensor:
        """(N, D) -> (N, D)."""
        return self.outer(torch.tanh(self.sharpness * self.inner(h))) - h


class Head(nn.Module):
    """The ODE and the last layer."""

    def __init__(self, time: float, sharpness: float) -> None:
        super().__init__()
        self.field, self.output, self.time = Field(sharpness), nn.Linear(WIDTH, CLASSES), time

    def forward(self, h: Tensor, *, adjoint: bool, tolerance: float) -> Tensor:
        """(N, D) -> (N, K) logits."""
        solve = odeint_adjoint if adjoint else odeint
        ends = torch.tensor([0.0, self.time], dtype=h.dtype)
        moved: Tensor = solve(self.field, h, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
        logits: Tensor = self.output(moved)
        return logits


class NodeEnergy(Detector):
    """The energy of the head's logits. The solver steps for a whole batch, so that a score feels its mates."""

    def __init__(self, classifier: Detector, head: Head, *, adjoint: bool, tolerance: float) -> None:
        super().__init__(classifier.network, shape=classifier.shape, classes=CLASSES, params=DetectorParams())
        self.head, self.adjoint, self.tolerance = head, adjoint, tolerance
        told = "the adjoint equation is solved with a tolerance" if adjoint else ""
        self.info = DetectorInfo(approximate_gradient=told)  # type: ignore[misc]

    def logits(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K)."""
        h = self.network.ends(x)[0]
        return self.head(h, adjoint=self.adjoint, tolerance=self.tolerance)

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,)."""
        return self.logits(x).logsumexp(dim=1)


def trained(head: Head, classifier: Detector, train: ImageSet, steps: int) -> Head:
    """The head after cross-entropy on features of training images, the backbone left as it is."""
    with torch.no_grad():
        features = torch.cat([classifier.network.ends(part)[0] for part in train.pixels().split(250)])
    draws, optimiser = torch.Generator().manual_seed(0), torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = torch.randint(len(features), (BATCH,), generator=draws)
        logits = head(features[rows], adjoint=False, tolerance=1e-3)
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits, train.labels[rows]).backward()
        optimiser.step()
    return head.requires_grad_(True).eval()


def gradient(detector: Detector, x: Tensor) -> Tensor:
    """(N, C, H, W) of the score."""
    leaf = x.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(detector.score(leaf).sum(), leaf)
    return found


def main() -> None:
    """Train, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--eps", type=float, default=1.0, help="L2")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--training-steps", type=int, default=300)
    parser.add_argument("--time", type=float, default=5.0, help="T, to which the equation is solved")
    parser.add_argument("--sharpness", type=float, default=1.0, help="what multiplies the field's hidden layer")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    options = parser.parse_args()
    torch.manual_seed(0)
    catalog = Catalog()
    track = Track(catalog.track("digits"))
    classifier = load_detector(catalog.detector_spec("energy", "digits"), track.card, catalog).eval()
    head = trained(Head(options.time, options.sharpness), classifier, track.set("train"), options.training_steps)
    inside = track.set("test").limited(options.limit)
    outside = [track.set(name).limited(options.limit) for name in SETS]
    made = {
        name: NodeEnergy(classifier, head, adjoint=name == "adjoint", tolerance=options.tolerance).eval()
        for name in ("exact", "adjoint")
    }
    exact = made["exact"]
    with torch.no_grad():
        right = exact.logits(inside.pixels()).argmax(dim=1) == inside.labels
    clean = score_images(exact, inside.pixels(), BATCH, Draws(inside.ids))

    def told(found: list[Tensor]) -> float:
        scored = (score_images(exact, x, BATCH, Draws(s.ids)) for x, s in zip(found, outside, strict=True))
        return round(sum(float(auroc(clean, scores)) for scores in scored) / len(SETS), 3)

    accuracy = round(float(right.double().mean()), 3)
    print(json.dumps({"clean": told([s.pixels() for s in outside]), "accuracy": accuracy}), flush=True)
    x = torch.cat([s.pixels()[:32] for s in outside])
    slopes = {name: gradient(detector, x) for name, detector in made.items()}
    for name, slope in slopes.items():
        unit = slope / slope.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        along = (slope * unit).flatten(1).sum(dim=1)
        errors = []
        for share in (0.01, 0.03, 0.1, 0.3):
            with torch.no_grad():
                forth, back = (exact.score(x + way * share * options.eps * unit) for way in (1, -1))
            rise = (forth - back) / (2 * share * options.eps)
            errors.append(float(((rise - along).abs() / torch.maximum(rise.abs(), along.abs())).median()))
        cosine = torch.nn.functional.cosine_similarity(slope.flatten(1), slopes["exact"].flatten(1)).tolist()
        flat = float((slope.flatten(1).abs().amax(dim=1) == 0).double().mean())
        figures = {"without a gradient": flat, "error": round(min(errors), 3), "cosine": round(median(cosine), 3)}
        print(json.dumps({"gradient": name} | figures), flush=True)
    threats: dict[str, tuple[Detector, Threat]] = {
        name: (made[name], PGD(PGDParams(steps=options.steps, restarts=1))) for name in made
    } | {"square": (exact, Square(SquareParams(queries=500)))}
    for name, (detector, threat) in threats.items():
        detector.requires_grad_(name == "adjoint")  # the library's adjoint follows the parameters
        found = [
            threat.run(
                detector, s.pixels(), ids=s.ids, budget=Budget(Norm.L2, options.eps), context=Context(Side.EVADE)
            ).images
            for s in outside
        ]
        print(json.dumps({"attack": name, "eps": options.eps, "auroc": told(found)}), flush=True)


if __name__ == "__main__":
    main()
