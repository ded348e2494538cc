"""ODIN: temperature scaling, and a small step towards confidence."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource
from bench.detectors.logit import needed_network
from bench.detectors.preprocessing import input_gradient


class ODINParams(DetectorParams):
    """Parameters of ODIN: `temperature` T, and `magnitude` of the preprocessing step in [0, 1] pixel units."""

    temperature: float = Field(default=1000.0, gt=0, allow_inf_nan=False)
    magnitude: float = Field(default=0.0014, ge=0, allow_inf_nan=False)


class ODIN(Detector):
    """Softmax confidence at a high temperature, after a step that raises it.

    Liang, Li and Srikant (2018), "Enhancing the reliability of out-of-distribution image detection in neural
    networks", equation 1 (temperature) and equation 2 (x' = x - magnitude * sign(-gradient of log max softmax)).

    Deviations: the score has the ranks of the maximum softmax probability at T but not its saturation (see
    `unsaturated_confidence`); the step follows the sign of that score's gradient, which is a positive multiple of
    the paper's; the sign of 0 is 0. As in the paper's code nothing is clamped after the step, so x' may leave [0, 1].

    The step is piecewise constant in x, so that the gradient of the score is the one taken at x'. It is what
    `backward` gives; at the boundaries between pieces, of measure zero, the score jumps.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(
        jumps="where a pixel's gradient is 0, the preprocessing step of that pixel changes its sign",
        components=("classifier", "preprocessing"),
        matched="logits",
    )
    params: ODINParams

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); higher = more in-distribution. Also right under `torch.no_grad`."""
        return self.confidence(self.preprocess(x))

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) as for every detector, of the preprocessed image: what the score sees."""
        return super().features(x, at) if at == "score" else super().features(self.preprocess(x), at)

    def preprocess(self, x: Tensor) -> Tensor:
        """Images moved by `magnitude` in every pixel, towards confidence; its derivative in x is the identity."""
        assert isinstance(self.params, ODINParams)
        if self.params.magnitude == 0.0:
            return x
        return x + self.params.magnitude * input_gradient(self.confidence, x).sign()

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) the confidence in each class, at the image that the step towards the top class gives."""
        assert isinstance(self.params, ODINParams)
        logits = needed_network(self)(self.preprocess(x))
        classes = torch.arange(logits.shape[1], device=logits.device)
        temperature = self.params.temperature
        return torch.stack([confidence_in(logits, k.expand(len(logits)), temperature) for k in classes], dim=1)

    def confidence(self, x: Tensor) -> Tensor:
        """The score without the step."""
        assert isinstance(self.params, ODINParams)
        return unsaturated_confidence(needed_network(self)(x), self.params.temperature)


def unsaturated_confidence(logits: Tensor, temperature: float) -> Tensor:
    """A score with the same ranks as max softmax(z / T), in the logits' unit and precise at every T.

    With d_j = z_j - z_max it is -T * log(mean over j != max of exp(d_j / T)) = T * (log(p / (1 - p)) + log(K - 1)),
    which tends to z_max minus the mean of the other logits as T grows: where p itself differs from 1/K by a few
    float32 roundings, this keeps full precision. The mean is taken relative to the second largest logit, in
    expm1 and log1p, so that neither large nor small d_j / T cancels.

    Args:
        logits: (N, K >= 2).
        temperature: T > 0.

    Returns:
        (N,).
    """
    return confidence_in(logits, logits.argmax(dim=1), temperature)


def confidence_in(logits: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """The same of any class: T * (log(p_k / (1 - p_k)) + log(K - 1)), p = softmax(z / T).

    Args:
        logits: (N, K >= 2).
        classes: (N,) int64, k of every image.
        temperature: T > 0.

    Returns:
        (N,).
    """
    own = logits.gather(1, classes[:, None]).squeeze(1)
    others = logits.scatter(1, classes[:, None], float("-inf"))
    second = others.amax(dim=1)
    distance = (others - second[:, None]) / temperature
    # The class itself counts nothing: its expm1(-inf) = -1 is replaced by 0.
    excess = torch.where(torch.isinf(distance), 0.0, torch.expm1(distance)).sum(dim=1)
    return own - second - temperature * torch.log1p(excess / (logits.shape[1] - 1))
