"""What a training recipe is: steps that depend on nothing but the seed and their number.

A step draws only from the generator that it is given, and that generator is seeded by (seed, step). Training that was
interrupted and resumed therefore takes the same steps as training that was not.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from bench.datasets.base import ImageSet, TrainingData
from bench.detectors.base import Detector, Progress, silent
from bench.errors import CardError, DataError
from bench.randomness import derive_seed


class RecipeArgs(BaseModel):
    """Base of a recipe's arguments, as a card's `training.args` may give them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipe(ABC):
    """Base of every recipe.

    Args:
        detector: The detector whose state is trained; earlier weights files of its card are already in it.
        data: What training may see.
        args: The card's arguments.
        seed: Seed of initial weights, batches and augmentation.
        device: Where to train.

    Raises:
        CardError: The recipe is for another method than the detector's.
        DataError: The recipe needs labels and the training set has none.
    """

    Args: ClassVar[type[RecipeArgs]] = RecipeArgs
    trains: ClassVar[type[Detector] | None] = None
    """The only method that it can train; None where several can be trained."""
    needs_labels: ClassVar[bool] = False
    """Whether every training image must have a label."""

    def __init__(
        self, detector: Detector, data: TrainingData, args: dict[str, Any], *, seed: int, device: str = "cpu"
    ) -> None:
        if self.trains is not None and not isinstance(detector, self.trains):
            raise CardError(
                f"the recipe {type(self).__name__} trains the method {self.trains.__name__}, not "
                f"{type(detector).__name__}; correct the card."
            )
        self.args = self.Args.model_validate(args)
        self.detector = detector.to(device)
        self.data = data
        self.seed = seed
        self.device = torch.device(device)
        if self.needs_labels:
            data.train.required_labels(f"the recipe {type(self).__name__}")
        self.prepare()

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """How many times `step` is called."""

    def prepare(self) -> None:
        """Build optimiser and data; called once, before any step."""

    def trained(self) -> nn.Module:
        """What the steps train, and what is drawn anew from the seed before the first of them.

        All of the detector, unless earlier weights files of its card hold parts that stay as they are.
        """
        return self.detector

    @abstractmethod
    def step(self, number: int, generator: torch.Generator) -> dict[str, float]:
        """Take step `number` and return its figures, e.g. {"loss": 0.31}."""

    def evaluate(self) -> dict[str, float]:
        """Figures on held-out calibration data, e.g. {"ID accuracy": 0.98}."""
        return {}

    def traced(self) -> dict[str, float]:
        """Figures for a curve that is kept of a training: those of `evaluate`, unless a recipe has more to tell."""
        return self.evaluate()

    def finish(self, progress: Progress = silent) -> None:
        """What is estimated once, after the last step."""

    def state(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs beside the detector's own state."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""


class GradientRecipe(Recipe):
    """A recipe that trains the detector's network with an optimiser under a cosine schedule with warm-up."""

    optimizer: torch.optim.Optimizer

    def use_adam(self, lr: float, weight_decay: float = 0.0) -> None:
        """Train all parameters of what is trained by AdamW."""
        parameters = [p.requires_grad_(True) for p in self.trained().parameters()]
        self.base_lr = lr
        self.optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)

    def update(self, loss: Tensor, lr: float) -> None:
        """One optimiser step on this loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors, by parameter number and name."""
        return {
            f"{index}.{name}": value
            for index, entry in self.optimizer.state_dict()["state"].items()
            for name, value in entry.items()
            if isinstance(value, Tensor)
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put the optimiser's tensors back."""
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            index, name = key.split(".", 1)
            entries.setdefault(int(index), {})[name] = value
        whole = self.optimizer.state_dict()
        whole["state"] = entries
        self.optimizer.load_state_dict(whole)


@contextmanager
def as_attackers_meet_it(module: nn.Module) -> Iterator[None]:
    """For attacks within a training: the network in evaluation mode and its parameters frozen, then all as it was.

    A detector is scored and attacked in evaluation mode. In training mode batch norm would normalise by the attacked
    images themselves and take them into its running statistics, and dropout would change the score at every step:
    images would be moved against another network than the one that is to withstand them.
    """
    modes = [(part, part.training) for part in module.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    module.eval().requires_grad_(False)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)


def seeded(seed: int, *parts: object) -> torch.Generator:
    """A CPU generator seeded by (seed, parts)."""
    return torch.Generator().manual_seed(derive_seed(seed, *parts))


def pick(images: ImageSet, count: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """(count, C, H, W) images in [0, 1] and their labels, drawn with replacement."""
    index = torch.randint(len(images), (count,), generator=generator)
    return (images.images[index].to(device).float() / 255.0), images.labels[index].to(device)


def required_outliers(data: TrainingData, recipe: str) -> ImageSet:
    """The training outliers.

    Raises:
        DataError: The track has none.
    """
    if data.outliers is None or len(data.outliers) == 0:
        raise DataError(f"{recipe} needs training outliers and this track has none; name some under `outliers`.")
    return data.outliers


def batches(images: ImageSet, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole set in order, as ([0, 1] images, labels)."""
    for start in range(0, len(images), size):
        chunk = slice(start, start + size)
        yield images.images[chunk].to(device).float() / 255.0, images.labels[chunk].to(device)
