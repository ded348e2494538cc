"""Banks: features of single training images that a score compares with."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from bench.detectors.scores.base import ScoreParams
from bench.detectors.scores.training_features import TrainingFeatures
from bench.errors import NotFittableError


class BankParams(ScoreParams):
    """Parameters of a score with a bank.

    Attributes:
        k: How many neighbours count.
        bank: The bank holds at most this many training images, the first of them.
    """

    k: int = Field(default=50, ge=1)
    bank: int = Field(default=10_000, ge=1, le=1_000_000)


def unit(features: Tensor) -> Tensor:
    """(N, D) features of length 1; a feature of 0 stays 0."""
    return functional.normalize(features, dim=1)


def check_bank(training: TrainingFeatures, k: int, limit: int) -> None:
    """Raise unless a bank of these images has k neighbours.

    Raises:
        NotFittableError: It has fewer.
    """
    if min(len(training), limit) < k:
        raise NotFittableError(
            f"k is {k} and the bank holds {min(len(training), limit)} training images; choose a smaller k, or a larger "
            "bank."
        )
