"""The size of the last layer's gradient."""

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.scores.base import FeatureScore, ScoreParams


class GradNormParams(ScoreParams):
    """`temperature` T of the softmax."""

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class GradNorm(FeatureScore):
    """|d/dW KL(u || softmax(z / T))|_1 = |h|_1 |p - u|_1 / T, u = 1 / K and p = softmax(z / T).

    Huang, Geng and Li (2021), "On the importance of gradients for detecting distributional shifts in the wild",
    equations 4 and 6; W is the weight of the last layer and T = 1, as in the paper. The closed form is their equation
    of section 5.3: the gradient is an outer product, so that no pass backward is needed and batches are scored whole.
    No deviation. Where p is nearly one-hot the second factor is constant in float32, and h alone moves the score.
    """

    params: GradNormParams

    def of(self, features: Tensor, logits: Tensor) -> Tensor:
        """(N, D) and (N, K) -> (N,) at least 0."""
        p = torch.softmax(logits / self.params.temperature, dim=1)
        above = (p - 1.0 / logits.shape[1]).abs().sum(dim=1)
        return features.abs().sum(dim=1) * above / self.params.temperature
