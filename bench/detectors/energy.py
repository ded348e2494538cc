"""The energy score."""

import torch
from pydantic import Field
from torch import Tensor

from bench.detectors.scores.base import LogitScore, ScoreParams


class EnergyParams(ScoreParams):
    """Parameters of the energy score."""

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class Energy(LogitScore):
    """Minus the free energy of the logits, T * logsumexp(z / T).

    Liu, Wang, Owens and Li (2020), "Energy-based out-of-distribution detection", equations 4 and 7. No deviation.
    """

    params: EnergyParams

    def score_logits(self, logits: Tensor) -> Tensor:
        """(N, K) -> (N,) in the logits' unit."""
        assert isinstance(self.params, EnergyParams)
        temperature = self.params.temperature
        return temperature * torch.logsumexp(logits / temperature, dim=1)
