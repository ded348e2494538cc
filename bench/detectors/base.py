"""The one scoring interface: every image gets a score, higher means more in-distribution."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from bench.cards.params import annotated_params
from bench.cards.threat import Norm
from bench.datasets.base import TrainingData
from bench.detectors.networks.base import FromPixels
from bench.errors import InputError, UsageError

NoiseSource = Callable[[tuple[int, ...]], Tensor]
"""Gives (N, *shape) standard normal numbers for the N images at hand."""

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is known so far)."""


DRAWS = 16
"""Draws of its noise over which an attack and the harness average the score of a random detector."""

MOST_DRAWS = 1000


def silent(done: int, total: int, note: str) -> None:
    """A progress callback that says nothing."""


class DetectorParams(BaseModel):
    """Base of a detector's parameters, as its card may give them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class DetectorInfo:
    """What the harness must know of a method.

    Attributes:
        classifier: It needs a network with one logit a class.
        outliers: Training or fitting sees outliers.
        random: Its score draws random numbers.
        differentiable: The score has a useful gradient in x.
        approximate_gradient: The sentence that says where the gradient is an approximation; empty where it is exact.
        jumps: The sentence that says where the score is discontinuous, so that roundings show; empty where nowhere.
        roundings: The sentence that says why roundings of float32 show in the score more than after a common network;
            empty where they do not.
        components: What an adaptive attacker must cover, e.g. ("classifier", "preprocessing").
        matched: The features (see `Detector.features`) that feature matching matches unless told otherwise.
        draws: Over how many draws the score of a random detector is averaged; 1 where a score is an average already.
    """

    classifier: bool = True
    outliers: bool = False
    random: bool = False
    differentiable: bool = True
    approximate_gradient: str = ""
    jumps: str = ""
    roundings: str = ""
    components: tuple[str, ...] = ()
    matched: str = "score"
    draws: int = DRAWS

    def __post_init__(self) -> None:
        """Without a draw, a random detector would be scored as if it drew nothing."""
        if not 1 <= self.draws <= MOST_DRAWS:
            raise UsageError(f"a detector declares {self.draws} draws of its noise; allowed are 1 to {MOST_DRAWS}.")


class Detector(nn.Module):
    """Base of every detector.

    Subclasses set `info`, annotate `params` and implement `score`. State lives in parameters and buffers alone, so
    that `state_dict` is the whole of it.

    Args:
        network: The network with its steps from pixels; None for a detector that has none.
        shape: (C, H, W) of the images.
        classes: The number of ID classes.
        params: The card's parameters, checked.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo()
    Params: ClassVar[type[DetectorParams]] = DetectorParams

    precision: torch.dtype = torch.float32
    """The type in which its scores are compared and stored: float64 where it gives float64."""

    remarks: tuple[str, ...] = ()
    """One sentence for everything that a reader of its cells should know."""

    foreign: ClassVar[bool] = False
    """Whether it runs code of others, so that nothing is known of what that does to its images."""

    statistics_in_state: ClassVar[bool] = True
    """Whether all that `fit` finds is in its `state_dict`, so that a fit can be kept."""

    lent: bool = False
    """Whether its modules are somebody's own, to be left as they were: they are frozen only while they are asked."""

    def __init_subclass__(cls, **named: Any) -> None:
        """`Params` is the class that `params` is annotated with, unless a class says otherwise."""
        super().__init_subclass__(**named)
        if "Params" not in vars(cls) and (found := annotated_params(cls, DetectorParams)) is not None:
            cls.Params = found

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__()
        self.network = network
        self.shape = shape
        self.classes = classes
        self.params = params

    @property
    def title(self) -> str:
        """What a person calls it."""
        return type(self).__name__

    @classmethod
    def network_outputs(cls, classes: int) -> int | None:
        """How many outputs the network inside must have: one a class, or one; None accepts any number."""
        return classes if cls.info.classifier else 1

    @abstractmethod
    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,); higher = more in-distribution.

        Differentiable in x wherever mathematics allows. A random detector draws only from `noise`; None asks for its
        deterministic or averaged form.
        """

    def objective(self, x: Tensor) -> Tensor:
        """(N,) what directs an attack: same order as the score, without its saturation."""
        return self.score(x)

    def score_and_objective(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score and objective of the same images, in one pass where they are one."""
        if type(self).objective is Detector.objective:
            score = self.score(x)
            return score, score
        with torch.no_grad():
            score = self.score(x)
        return score, self.objective(x)

    def noisy_score_and_objective(self, x: Tensor, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """Score and objective of a random detector by one draw of its noise; one tensor where they are one."""
        score = self.score(x, noise=noise)
        return score, score

    def features(self, x: Tensor, at: str) -> Tensor:
        """(N, D) what feature matching matches; `at` is "score", "logits", "penultimate" or "all".

        Raises:
            InputError: This detector has no such features.
        """
        if at == "score":
            return self.score(x)[:, None]
        if self.network is None or at not in ("logits", "penultimate", "all"):
            raise InputError(f"{type(self).__name__} has no features at '{at}'.")
        activations = self.network.activations(x)
        if at == "all":
            return torch.cat([a.flatten(1) for a in activations.values()], dim=1)
        return activations[at].flatten(1)

    def logits(self, x: Tensor) -> Tensor | None:
        """(N, K) of the classifier inside, None without one."""
        return self.network(x) if self.network is not None and self.info.classifier else None

    def class_scores(self, x: Tensor) -> Tensor | None:
        """(N, K) what the score would be if each class were the predicted one; None where no class has a part in it.

        An attack may ascend each of them in turn and keep what the score itself ranks best. Differentiable in x as the
        score is.
        """
        return None

    def class_scores_and_margins(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """`class_scores`, and of a score of the predicted class (N, K) by how much each class is predicted.

        A margin is above 0 where the class is the predicted one, at most 0 elsewhere, and has a gradient towards that
        class; None where the score asks for no prediction. Attacks aim restarts at classes with it: the class is to be
        predicted first, then its score ascended.
        """
        return self.class_scores(x), None

    def bits_per_dim(self, x: Tensor) -> Tensor | None:
        """(N,) negative log2-likelihood of the 8-bit image a pixel and channel; None without a density."""
        return None

    def bound(self, x: Tensor, norm: Norm, eps: float) -> Tensor | None:
        """(N,) certified upper bound of the score in the ball of radius `eps`; None without a certificate."""
        return None

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Estimate what is only statistics; weights come from `bench.training`."""
        return self

    def recalled(self) -> None:
        """Called after the state of an earlier fit was loaded."""

    def forward(self, x: Tensor) -> Tensor:
        """`score` after a check of the images.

        Raises:
            InputError: Images of the wrong type, shape or range.
        """
        check_images(x, self.shape)
        return self.score(x)


def score_type(given: torch.dtype) -> torch.dtype:
    """The type that holds scores of this type: float64 those of float64 and of integers, float32 what is narrower."""
    wide = (torch.float64, torch.int64, torch.int32, torch.uint32, torch.uint64)
    return torch.float64 if given in wide else torch.float32


def check_images(x: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise unless x is a batch of float images of this shape in [0, 1].

    Raises:
        InputError: In one sentence, what was given and what is allowed.
    """
    if not x.is_floating_point():
        raise InputError(f"images are {x.dtype}; allowed are float images in [0, 1] (divide bytes by 255).")
    if x.ndim != 4 or tuple(x.shape[1:]) != tuple(shape):
        raise InputError(f"images have shape {tuple(x.shape)}; allowed is (N, {', '.join(map(str, shape))}).")
    if len(x) == 0:
        raise InputError("the batch is empty; give at least one image.")
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    if not (low >= 0.0 and high <= 1.0):  # false for NaN too
        raise InputError(f"pixels range from {low:g} to {high:g}; allowed is [0, 1] without NaN.")
