"""ROSS: the median of a base score over noisy copies of an image, raised where the copies agree."""

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bench.datasets.base import TrainingData
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.energy import Energy
from bench.detectors.fitting import Meter, batches, black_image, evaluating
from bench.detectors.logit import LogitDetector, needed_network
from bench.detectors.msp import MSP
from bench.detectors.networks.base import FromPixels
from bench.detectors.scores.gen import GEN
from bench.detectors.scores.maxlogit import MaxLogit
from bench.errors import InputError
from bench.randomness import normal

FIT_IMAGES = 1_000
"""The threshold comes from at most this many calibration images, as many as the authors' validation set has."""

TAIL = 0.05
"""The share of the calibration images whose median lies below the threshold."""

TINY = 1e-12
"""The authors' addition to the spread, by which the rise is divided."""

BASES: dict[str, type[LogitDetector]] = {"energy": Energy, "gen": GEN, "maxlogit": MaxLogit, "msp": MSP}


class ROSSParams(DetectorParams):
    """Parameters of ROSS.

    Attributes:
        base: The score of the logits that is smoothed.
        copies: Noisy copies of each image, n.
        noise: Standard deviation of the noise in the network's own input scale, after normalisation.
        gain: lambda, how much agreement of the copies raises the score.
    """

    base: Literal["energy", "gen", "maxlogit", "msp"] = "energy"
    copies: int = Field(default=25, ge=1, le=1000)
    noise: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    gain: float = Field(default=0.05, ge=0, allow_inf_nan=False)


class ROSS(Detector):
    """The median m of a base score b over n noisy copies, raised where the copies agree.

    "ROSS: a robust OOD detector via synergistic smoothing" (CVPR Findings 2026), as its authors' published code has it:

        b_i = b(x + sigma z_i),  z_i ~ N(0, 1),  i = 1 ... n
        m = median_i b_i,  d = mean_i |b_i - m|
        score = m + lambda max(m - t, 0) / (d + 1e-12)

    t is the 5 % quantile of m over held-out ID images. (The paper calls d the median absolute deviation; the code, and
    so we, take the mean.) The noise is added after normalisation, so that it leaves [0, 1].

    Deviations: t comes from the first 1,000 calibration images; the base is a score of the logits alone, where the
    authors also take fDBD; without `noise` the score is b(x), the base score of the image itself, which no smoothing
    has touched.

    It is an average already, so the harness takes one draw of n copies, which is the detector as it would run. The
    score's gradient is that of the one copy that is the median, and of d; an attack is directed by the mean of b_i,
    whose gradient is that of all copies.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(random=True, draws=1, components=("classifier",), matched="logits")
    params: ROSSParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        needed_network(self)
        method = BASES[self.params.base]
        self.base = method(None, shape=shape, classes=classes, params=method.Params())
        self.register_buffer("threshold", torch.tensor(torch.nan))
        self.threshold: Tensor

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); the base score without `noise`.

        Raises:
            InputError: There is noise, and the threshold is not fitted.
        """
        if noise is None:
            return self.base.score_logits(needed_network(self)(x))
        return self._of(self.copies(x, noise))

    def noisy_score_and_objective(self, x: Tensor, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """The score, and the mean of the base score over the same copies."""
        scores = self.copies(x, noise)
        return self._of(scores.detach()), scores.mean(dim=1)

    def copies(self, x: Tensor, noise: NoiseSource) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, n) the base scores of noisy copies."""
        own = needed_network(self).own_input(x)
        follows = torch.is_grad_enabled() and own.requires_grad
        scores = []
        for _ in range(self.params.copies):
            step = self.params.noise * noise(tuple(own.shape[1:])).to(own)
            # The activations of one copy are held at a time, and those of the others made again for the gradient.
            found = checkpoint(self._base, own, step, use_reentrant=False) if follows else self._base(own, step)
            scores.append(found)
        return torch.stack(scores, dim=1)

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Find the threshold on calibration images, with noise of its own."""
        images = data.calibration.limited(FIT_IMAGES)
        device, done, medians = black_image(self).device, 0, []
        meter = Meter(progress, len(images))
        with evaluating(self), torch.no_grad():
            for pixels, _ in batches(images, device):
                ids = images.ids[done : done + len(pixels)].to(device)
                medians.append(self.copies(pixels, _noise_of(ids)).median(dim=1).values.cpu())
                done += len(pixels)
                meter.add(len(pixels), "threshold")
            self.threshold.copy_(torch.cat(medians).double().quantile(TAIL))
        return self

    def _base(self, own: Tensor, step: Tensor) -> Tensor:
        return self.base.score_logits(needed_network(self).network(own + step))

    def _of(self, scores: Tensor) -> Tensor:
        if bool(self.threshold.isnan()):
            raise InputError("ROSS must be fitted before it scores; give its card `fit_when_loaded: true`.")
        return smoothed(scores, self.threshold, self.params.gain)


def smoothed(scores: Tensor, threshold: Tensor | float, gain: float) -> Tensor:
    """(N, n) base scores of noisy copies -> (N,) m + lambda max(m - t, 0) / (d + 1e-12); see `ROSS`.

    Args:
        scores: Of every copy; of an even number, the lower of the two middle ones is the median.
        threshold: t.
        gain: lambda.

    >>> smoothed(torch.tensor([[1.0, 2.0, 6.0]]), threshold=1.0, gain=0.5)
    tensor([2.3000])
    """
    median = scores.median(dim=1).values
    spread = (scores - median[:, None]).abs().mean(dim=1)
    return median + gain * (median - threshold).clamp_min(0.0) / (spread + TINY)


def _noise_of(ids: Tensor) -> NoiseSource:
    """Noise that depends on the images alone: every request gets numbers of its own."""
    asked = 0

    def source(shape: tuple[int, ...]) -> Tensor:
        nonlocal asked
        asked += 1
        return normal(0, ids, asked, shape)

    return source
