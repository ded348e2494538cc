"""The interface of every threat, and the bookkeeping that none of them has to do itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from bench import randomness
from bench.cards.params import annotated_params
from bench.cards.threat import Goal, Loss, Norm, Side
from bench.detectors.base import Detector, DetectorInfo
from bench.detectors.searching import Copy
from bench.detectors.untouched import untouched
from bench.threat_models.costs import Case, Cost

TRACE_LENGTH = 64
"""The most points that a score trace holds."""


class Status(StrEnum):
    """How the attack on one sample ended."""

    COMPLETED = "completed"  # the whole budget was spent
    STOPPED = "stopped"  # early, beyond the stop target: no rank can change any more
    NO_GRADIENT = "no-gradient"  # the gradient was absent or all zero at every point
    NON_FINITE = "non-finite"  # a gradient or a score was not finite; such points were skipped
    FAILED = "failed"  # nothing could be done; the image is the clean one


class ThreatParams(BaseModel):
    """Base of a threat's parameters, as its card and the command line may give them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Budget:
    """What the attacker may spend on one sample.

    Attributes:
        norm: The norm of the ball, or the norm in which the nearest image that does is looked for; None where only the
            box [0, 1] binds.
        eps: Radius of the ball in [0, 1] pixel units; None where only the box binds.
    """

    norm: Norm | None
    eps: float | None


@dataclass(frozen=True)
class Acceptance:
    """From which score on the detector accepts an image.

    Attributes:
        overall: The threshold of every image whose class has none of its own.
        by_class: Predicted class -> its threshold.
        scale: Interquartile range of the clean ID scores, in which distances from a threshold are told.
    """

    overall: float
    by_class: Mapping[int, float] = field(default_factory=dict)
    scale: float = 1.0

    def of(self, classes: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N,) thresholds of images of these (N,) predicted classes, in the type of the scores."""
        thresholds = torch.full(classes.shape, self.overall, dtype=dtype, device=classes.device)
        for label, threshold in self.by_class.items():
            thresholds[classes == label] = threshold
        return thresholds


def _unheard(share: float, scores: Tensor) -> None:
    """A progress callback that does nothing."""


@dataclass(frozen=True)
class Context:
    """What the attacker knows and what the harness asks of it.

    Attributes:
        side: EVADE raises the score of every image given, ALARM lowers it (the harness splits BOTH into these two),
            FOOL makes ID images misclassified, BETWEEN walks between ID images.
        seed: The cell's seed.
        stop_target: An image whose score is strictly beyond it needs no further step; None spends the whole budget.
        labels: (N,) int64 labels of the images, None where unknown.
        pool: (M, C, H, W) ID images that the attacker may use, None where it may use none: calibration images, or test
            images for a threat that says it `reads_test`.
        pool_labels: (M,) int64 labels of the pool.
        goal: What an attack of side FOOL has to reach.
        loss: What directs an attack of side FOOL.
        acceptance: The detector's thresholds; None where the goal needs none.
        draws: Over how many draws of its noise the score of a random detector is averaged; 0 for one that draws none.
        classes: (N,) int64 classes whose own score directs the attack (`Detector.class_scores_and_margins`), in place
            of the detector's objective; below 0, and None for all, stands for that.
        transferred: (N, C, H, W) images crafted from the same images on other detectors, by the detectors' names.
        earlier: (N, C, H, W) points inside the ball that are known already, the best ones of a smaller radius; None
            where there are none.
        onward: The first start sets out from them, in place of the clean image.
        micro_batch: The one batch shape in which gradients and scores are computed (the last batch is padded).
        precision: The type in which scores are compared, `Detector.precision`.
        search: A cheaper copy of the detector, which an ascent may ask in the first half of its steps; None where all
            of them ask the detector itself.
        progress: Called with (share done in [0, 1], (N,) best scores so far).
    """

    side: Side
    seed: int = 0
    stop_target: float | None = None
    labels: Tensor | None = None
    pool: Tensor | None = None
    pool_labels: Tensor | None = None
    goal: Goal = Goal.MISCLASSIFY
    loss: Loss = Loss.MARGIN
    acceptance: Acceptance | None = None
    draws: int = 0
    classes: Tensor | None = None
    transferred: Mapping[str, Tensor] = field(default_factory=dict)
    earlier: Tensor | None = None
    onward: bool = False
    micro_batch: int = 128
    precision: torch.dtype = torch.float32
    search: Copy | None = None
    progress: Callable[[float, Tensor], None] = _unheard

    PER_IMAGE: ClassVar[frozenset[str]] = frozenset({"labels", "classes", "transferred", "earlier"})
    """The fields with one entry an attacked image: what is chosen among the images is chosen among these."""

    OF_ALL: ClassVar[frozenset[str]] = frozenset({
        "side", "seed", "stop_target", "pool", "pool_labels", "goal", "loss", "acceptance", "draws", "onward",
        "micro_batch", "precision", "search",
    })  # fmt: skip
    """The fields that are the same for any choice of images. `progress` is neither: it hears of all images at once."""

    def at(self, rows: Tensor | slice) -> "Context":
        """What the attacker knows of some of the images, in this order; nobody hears of its progress.

        Args:
            rows: (R,) int64 positions or (N,) bool, on the device of the images, or a slice.
        """
        cut = {name: _rows_of(getattr(self, name), rows) for name in self.PER_IMAGE}
        return replace(self, **cut, progress=_unheard)

    def held(self, x: Tensor) -> torch.dtype:
        """The type in which the scores of these images are held."""
        return torch.promote_types(x.dtype, self.precision)

    @property
    def sign(self) -> float:
        """+1 where the attacker wants the score high, -1 where low."""
        return -1.0 if self.side is Side.ALARM else 1.0

    def uniform(self, ids: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) uniform in (0, 1): a pure function of (seed, sample id, draw)."""
        return randomness.uniform(self.seed, ids, draw, shape)

    def uniform_draws(self, ids: Tensor, draws: Sequence[int], shape: tuple[int, ...]) -> Tensor:
        """(D, N, *shape) `uniform` of several draws, at the cost of one where the shape is small."""
        return randomness.uniform_draws(self.seed, ids, draws, shape)

    def noise(self, ids: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
        """(N, *shape) standard normal: a pure function of (seed, sample id, draw)."""
        return randomness.normal(self.seed, ids, draw, shape)


def _rows_of(values: Tensor | Mapping[str, Tensor] | None, rows: Tensor | slice) -> Any:
    """The same kind of thing, of some images."""
    if isinstance(values, Mapping):
        return {name: each[rows] for name, each in values.items()}
    return None if values is None else values[rows]


@dataclass(frozen=True)
class AttackResult:
    """One entry a sample.

    Attributes:
        images: (N, C, H, W) the best image found, judged by the score.
        last_images: (N, C, H, W) the last iterate of the best restart.
        score_trace: (N, T <= TRACE_LENGTH) best score so far along the attack.
        gradients: (N,) int64 gradients spent.
        queries: (N,) int64 scores asked for without a gradient.
        norm: (N,) distance from the clean image in the budget's norm (L2 where it has none).
        status: One a sample.
        figures: What else the threat measured, (N,) float each, by name, such as "mape"; NaN where it does not apply.
        notes: One sentence for everything that a reader of the cell should know.
    """

    images: Tensor
    last_images: Tensor
    score_trace: Tensor
    gradients: Tensor
    queries: Tensor
    norm: Tensor
    status: list[Status]
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Threat(ABC):
    """Base of every threat: subclasses annotate `params` and implement `attack`."""

    Params: ClassVar[type[ThreatParams]] = ThreatParams

    covers: ClassVar[tuple[str, ...] | None] = None
    """The components of a detector (see `DetectorInfo.components`) that the threat's objective sees; None: all, since
    it differentiates or asks for the whole score."""

    couples_images: ClassVar[bool] = False
    """Whether images of one call influence each other, so that all of them must be given at once, whatever memory that
    takes."""

    follows_loss: ClassVar[bool] = True
    """On side FOOL: whether `Context.loss` directs the search, so that one that knows no acceptance leaves it out."""

    def leaves_out(self, info: DetectorInfo, context: Context) -> tuple[str, ...]:
        """The parts of a detector that direct the search in nothing: where there is one, the attack is not adaptive.

        Args:
            info: What the detector declares; its `components` are the parts.
            context: The side, and on FOOL goal and loss.
        """
        components = info.components
        missed = [part for part in components if self.covers is not None and part not in self.covers]
        blind = context.goal is Goal.ACCEPT and self.follows_loss and context.loss is not Loss.JOINT
        if context.side is Side.FOOL and blind:
            missed += [part for part in components if part != "classifier"] or ["score"]
        return tuple(dict.fromkeys(missed))

    @property
    def reads_test(self) -> bool:
        """Whether the pool is to be the ID test images, as some papers have it; never for a figure that is ranked."""
        return False

    def cost(self, case: Case) -> Cost | None:
        """What an image costs at most where nothing stops the attack early, told without running it; None: unknown.

        Args:
            case: What it may depend on beside the parameters.
        """
        return None

    def __init_subclass__(cls, **named: Any) -> None:
        """`Params` is the class that `params` is annotated with, unless a class says otherwise."""
        super().__init_subclass__(**named)
        if "Params" not in vars(cls) and (found := annotated_params(cls, ThreatParams)) is not None:
            cls.Params = found

    def __init__(self, params: ThreatParams | None = None) -> None:
        self.params = params if params is not None else self.Params()

    def run(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """Attack every image; leaves model, gradients and the global generators as they were.

        Args:
            detector: The detector under attack.
            x: (N, C, H, W) float32 images in [0, 1].
            ids: (N,) int64 sample ids; the only source of randomness beside the seed.
            budget: Norm and radius.
            context: Side, seed, stop target and what the attacker may use.
        """
        with untouched(detector):
            return self.attack(detector, x.detach(), ids=ids, budget=budget, context=context)

    @abstractmethod
    def attack(self, detector: Detector, x: Tensor, *, ids: Tensor, budget: Budget, context: Context) -> AttackResult:
        """What `run` does, on a frozen detector in evaluation mode."""
