"""OpenMax: an unknown class, by Weibull tails of distances to class means."""

from collections.abc import Mapping

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import brentq
from torch import Tensor

from bench.detectors.base import DetectorInfo
from bench.detectors.scores.base import LogitScore, ScoreParams
from bench.detectors.scores.class_means import ClassSums
from bench.detectors.scores.training_features import TrainingFeatures
from bench.errors import NotFittableError

SHIFT = 10_000.0
"""What the authors' library adds to distances above the tail's start before it fits them."""

SHAPES = (1e-3, 1e8)
"""Between which the shape lies; the upper one stands for distances that are all the same."""

FAR_OUT = 10.0
"""Of the logarithm of a Weibull exponent: 1 - exp(-exp(10)) is 1."""


class OpenMaxParams(ScoreParams):
    """Parameters of OpenMax: the distances in a class's `tail`, and how many classes are revised, `alpha`."""

    tail: int = Field(default=20, ge=3)
    alpha: int = Field(default=10, ge=1)


class OpenMax(LogitScore):
    """log((1 - P_0) / P_0), P_0 the softmax probability of the unknown class among the revised logits.

    Bendale and Boult (2016), "Towards open set deep networks", Algorithms 1 and 2: m_k is the mean of the logits z of
    the training images of class k that are classified right, F_k a Weibull distribution fitted to the `tail` largest
    of their distances |z - m_k|. The class at rank i of the `alpha` largest logits is revised to
    z_k (1 - (alpha + 1 - i) / alpha F_k(|z - m_k|)), and the unknown class has the sum of what was taken.
    tail = 20 and alpha = 10 are the paper's for ImageNet; with fewer classes, alpha is their number.

    Deviations: Euclidean distances, where the authors' code adds a cosine one; the log-odds of a known class in place
    of 1 - P_0, with the same ranks and without saturation; the unknown class's logit is not cut at 709. Distances are
    shifted by 10,000 before the fit, as in the authors' library.

    The gradient is exact wherever the order of the logits stays the same.
    """

    info = DetectorInfo(
        jumps="where two of the largest logits change ranks, and with them their weights",
        components=("classifier",),
        matched="logits",
    )
    params: OpenMaxParams

    def shapes(self, width: int) -> Mapping[str, tuple[int, ...]]:
        """Means (K, K), and of each class's tail its Weibull distribution's shape and where it is 1 - 1/e (K,)."""
        return {"means": (self.classes, self.classes), "shape": (self.classes,), "location": (self.classes,)}

    def fit_score(self, training: TrainingFeatures) -> None:
        """Find means and tails.

        Raises:
            NotFittableError: Of some class fewer images than a tail needs are classified right.
        """
        sums = ClassSums(self.classes, self.classes)
        kept = []
        for batch in training:
            right = batch.logits.argmax(dim=1) == batch.labels
            sums.add(batch.logits[right], batch.labels[right])
            kept.append((batch.logits[right].double().cpu(), batch.labels[right].cpu()))
        means = sums.means("the network rightly predicts", "training")
        if int(sums.counts.min()) < self.params.tail:
            raise NotFittableError(
                f"of class {int(sums.counts.argmin())} only {int(sums.counts.min())} training images are classified "
                f"right, and OpenMax's tail has {self.params.tail}; choose a smaller tail."
            )
        logits, labels = torch.cat([z for z, _ in kept]), torch.cat([y for _, y in kept])
        tails = [
            (logits[labels == k] - means[k]).norm(dim=1).topk(self.params.tail).values.numpy()
            for k in range(self.classes)
        ]
        start = torch.tensor([tail.min() for tail in tails])
        shape, above = (torch.tensor(v) for v in zip(*(weibull(tail - tail.min()) for tail in tails), strict=True))
        self.put(means=means, shape=shape, location=start + above)

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) in the reals."""
        distances = torch.stack([(logits - mean).norm(dim=1) for mean in self.fitted["means"]], dim=1)
        alpha = min(self.params.alpha, logits.shape[1])
        order = logits.detach().argsort(dim=1, descending=True, stable=True)[:, :alpha]
        ranked = torch.arange(alpha, 0, -1, dtype=logits.dtype, device=logits.device) / alpha
        weights = torch.zeros_like(logits).scatter(1, order, ranked.expand(len(logits), -1))
        known = logits * (1.0 - weights * self._tails(distances))
        return torch.logsumexp(known, dim=1) - (logits - known).sum(dim=1)

    def _tails(self, distances: Tensor) -> Tensor:
        """(N, K) -> (N, K) in [0, 1]: how far out in the tail of its class a distance is."""
        relative = (distances - self.fitted["location"]) / SHIFT
        power = self.fitted["shape"] * torch.log1p(relative.clamp_min(-0.5))
        return -torch.expm1(-power.clamp_max(FAR_OUT).exp())


def weibull(above: np.ndarray) -> tuple[float, float]:
    """Shape of the likeliest Weibull distribution of a tail that is shifted by 10,000, and its scale less the shift.

    With a scale next to 10,000 and a shape of thousands, only the logarithms hold their digits.

    Args:
        above: (n,) distances above the tail's start, at least 0.
    """
    largest = above.max() + SHIFT
    logs = np.log1p((above - above.max()) / largest)  # of the shifted distances, relative to the largest

    def slope(shape: float) -> float:
        weights = np.exp(shape * logs)
        return float((weights * logs).sum() / weights.sum() - logs.mean() - 1.0 / shape)

    shape = float(brentq(slope, *SHAPES)) if slope(SHAPES[1]) > 0 else SHAPES[1]
    return shape, float(largest * np.expm1(np.log(np.mean(np.exp(shape * logs))) / shape) + largest - SHIFT)
