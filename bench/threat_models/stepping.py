"""How a restart gets from one iterate to the next: what tells the gradient threats apart."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models import geometry


@dataclass
class Rows:
    """Restarts under way, one a row."""

    sample: Tensor  # (R,) position of the image in x
    restart: Tensor  # (R,)
    y: Tensor  # (R, C, H, W) current iterate
    best: Tensor  # (R, C, H, W) best iterate so far, the clean image before there is one
    score: Tensor  # (R,) of the best iterate
    objective: Tensor  # (R,) of the best iterate
    stuck: Tensor  # (R,) no step can move it any more
    memory: dict[str, Tensor]  # (R, ...) what the step rule keeps of every row

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, keep: Tensor) -> "Rows":
        """The rows where `keep` is true."""
        chosen = {name: value[keep] for name, value in vars(self).items() if name != "memory"}
        return replace(self, **chosen, memory={name: value[keep] for name, value in self.memory.items()})


@dataclass(frozen=True)
class Stop:
    """What was found at the iterates of one micro-batch of rows, before they step on.

    What is padded to B rows is meant for arithmetic at the one batch shape; the rest has the batch's own M rows.

    Attributes:
        moment: The number of the coming step, from 0.
        batch: Which rows.
        y: (B, C, H, W) iterates, padded.
        center: (B, C, H, W) clean images, padded.
        gradient: (B, C, H, W) of the objective, padded.
        objective: (M,) from the attacker's side.
        better: (M,) it is the best iterate of its row so far.
        lost: (M,) its score or gradient is not finite; it was not kept.
        flat: (M,) its gradient is exactly zero.
        pad: From M rows to B.
    """

    moment: int
    batch: slice
    y: Tensor
    center: Tensor
    gradient: Tensor
    objective: Tensor
    better: Tensor
    lost: Tensor
    flat: Tensor
    pad: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.objective)


class StepRule(ABC):
    """Where to go next; what it has to remember of a row it keeps in the row's memory.

    Attributes:
        steps: How many steps a restart takes.
    """

    steps: int

    @abstractmethod
    def memory(self, start: Tensor) -> dict[str, Tensor]:
        """What the rule keeps of rows that start at these (R, C, H, W) points; every entry has R rows."""

    @abstractmethod
    def move(self, rows: Rows, stop: Stop) -> Tensor:
        """(M, C, H, W) the next iterates, inside ball and box; marks the rows that are stuck."""


class ScheduledSteps(StepRule):
    """Steps of lengths that are set beforehand, along the running mean of the unit directions of ascent.

    A lost row goes back to its best iterate, and a row whose gradient is exactly zero is stuck.

    Args:
        norm: The norm of ball and steps.
        eps: Radius.
        sizes: Length of every step in pixel units.
        momentum: Share of the earlier steps' direction in the next one, in [0, 1), for each restart in turn.
    """

    def __init__(self, norm: Norm, eps: float, sizes: tuple[float, ...], momentum: tuple[float, ...]) -> None:
        self.norm = norm
        self.eps = eps
        self.sizes = sizes
        self.momentum = momentum
        self.steps = len(sizes)

    def memory(self, start: Tensor) -> dict[str, Tensor]:
        """The running mean of the directions."""
        return {"course": torch.zeros_like(start)}

    def move(self, rows: Rows, stop: Stop) -> Tensor:
        """A step of the length that it is time for, projected."""
        y, gradient, count = stop.y, stop.gradient, len(stop)
        rows.stuck[stop.batch] = stop.flat & ~stop.lost
        if bool(stop.lost.any()):
            y, gradient = y.clone(), gradient.clone()
            y[:count][stop.lost] = rows.best[stop.batch][stop.lost]
            gradient[:count][stop.lost] = 0.0
            rows.memory["course"][stop.batch][stop.lost] = 0.0
        course = self._course(rows, stop, gradient)
        ahead = torch.add(y, course, alpha=self.sizes[stop.moment])
        moved = geometry.project(ahead, stop.center, self.norm, self.eps)[:count]
        return torch.where(stop.flat.view(-1, 1, 1, 1), y[:count], moved) if bool(stop.flat.any()) else moved

    def _course(self, rows: Rows, stop: Stop, gradient: Tensor) -> Tensor:
        """The direction of the next step, padded, remembered for the step after it."""
        ahead = geometry.direction(gradient, self.norm)
        if not any(self.momentum):
            return ahead
        share = ahead.new_tensor(self.momentum)[rows.restart[stop.batch] % len(self.momentum)]
        share = stop.pad(share).view(-1, *(1,) * (ahead.ndim - 1))
        course = torch.lerp(ahead, stop.pad(rows.memory["course"][stop.batch]), share)
        rows.memory["course"][stop.batch] = course[: len(stop)]
        return course
