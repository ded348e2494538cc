"""How a restart gets from one iterate to the next: what tells the gradient threats apart.

Nothing here may ask a tensor for its values, as `if mask.any()` does: on a GPU every answer is a wait. What concerns
some rows is computed for all of them and chosen.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from bench.cards.threat import Norm
from bench.threat_models import geometry

_EARLY, _SECANTS_EARLY, _SECANTS_LATE = 0.5, 5, 2
"""Steps of this share, from the first one on, are long and look for their projection with more secants than the short
ones after them, which begin close to the ball and hardly leave it."""


@dataclass
class Rows:
    """Restarts under way, one a row; whole micro-batches of them, the last one filled with copies that count nothing.

    Attributes:
        sample: (R,) position of the image in x.
        asked: (R,) the position under which the oracle knows it.
        real: (R,) it is no copy.
        ball_bounds: (R, C, H, W) each; see `geometry.ball_bounds`.
        y: (R, C, H, W) current iterate.
        best: (R, C, H, W) best iterate so far, the clean image before there is one.
        score: (R,) of the best iterate.
        objective: (R,) of the best iterate.
        stuck: (R,) no step can move it any more.
        live: (R,) neither stuck nor done nor a copy: what is found counts.
        gradients: (R,) int64 spent.
        non_finite: (R,) int64 points whose score or gradient was not finite.
        flat: (R,) int64 points whose gradient was zero.
        memory: (R, ...) what the step rule keeps of every row.
    """

    sample: Tensor
    asked: Tensor
    real: Tensor
    ball_bounds: tuple[Tensor, ...]
    y: Tensor
    best: Tensor
    score: Tensor
    objective: Tensor
    stuck: Tensor
    live: Tensor
    gradients: Tensor
    non_finite: Tensor
    flat: Tensor
    memory: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.sample)

    def choose(self, rows: Tensor | slice) -> "Rows":
        """Some of the rows, in this order; of a slice, views in which may be written."""
        return replace(self, **{field.name: _chosen(getattr(self, field.name), rows) for field in fields(self)})

    def put(self, places: Tensor, rows: "Rows") -> None:
        """Write the first of other rows in the places of some of these, one a place; of the same ones nothing."""
        if rows is self:
            return
        for field in fields(self):
            _put(getattr(self, field.name), places, getattr(rows, field.name))


def _chosen(values: Any, rows: Tensor | slice) -> Any:
    if isinstance(values, dict):
        return {name: value[rows] for name, value in values.items()}
    return tuple(value[rows] for value in values) if isinstance(values, tuple) else values[rows]


def _put(values: Any, places: Tensor, others: Any) -> None:
    if isinstance(values, dict):
        for name, value in values.items():
            value[places] = others[name][: len(places)]
    elif isinstance(values, tuple):
        for value, other in zip(values, others, strict=True):
            value[places] = other[: len(places)]
    else:
        values[places] = others[: len(places)]


@dataclass(frozen=True)
class Found:
    """What was found at the iterates of one micro-batch of B rows, before they step on.

    Attributes:
        iteration: The number of the coming step, from 0.
        gradient: (B, C, H, W) of the objective.
        slope: (B,) how steep it is, `geometry.dual_norm`; infinite where it is not finite, 0 where it is flat.
        objective: (B,) from the attacker's side.
        better: (B,) it is the best iterate of its row so far.
        non_finite: (B,) its score or gradient is not finite; it was not kept.
        flat: (B,) its gradient is exactly zero.
    """

    iteration: int
    gradient: Tensor
    slope: Tensor
    objective: Tensor
    better: Tensor
    non_finite: Tensor
    flat: Tensor


class StepRule(ABC):
    """Where to go next; what it has to remember of a row it keeps in the row's memory.

    Attributes:
        steps: How many steps a restart takes.
        norm: The norm of ball and steps.
        eps: Radius.
    """

    steps: int
    norm: Norm
    eps: float

    @abstractmethod
    def memory(self, start: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """What the rule keeps of rows: (R, C, H, W) points at which they start, and (R,) the numbers of the restarts.

        Every entry has R rows.
        """

    @abstractmethod
    def move(self, rows: Rows, found: Found) -> None:
        """Write the next iterates of one micro-batch, inside ball and box, to `y`, and mark the rows that are stuck."""


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

    def memory(self, start: Tensor, restart: Tensor) -> dict[str, Tensor]:
        """The running mean of the directions, and its share in the next one."""
        if not any(self.momentum):
            return {}
        shares = start.new_tensor(self.momentum)[restart % len(self.momentum)]
        return {"course": torch.zeros_like(start), "share": shares}

    def move(self, rows: Rows, found: Found) -> None:
        """A step of the length that it is time for, projected."""
        rows.stuck |= found.flat & ~found.non_finite
        course = geometry.unit(found.gradient, found.slope, self.norm)
        if rows.memory:
            share = (rows.memory["share"] * ~found.non_finite).view(-1, *(1,) * (course.ndim - 1))
            course = torch.lerp(course, rows.memory["course"], share, out=rows.memory["course"])
        ahead = torch.add(rows.y, course, alpha=self.sizes[found.iteration])
        secants = _SECANTS_EARLY if found.iteration < _EARLY * self.steps - 1 else _SECANTS_LATE
        moved = geometry.project_step(ahead, rows.ball_bounds, self.norm, self.eps, secants=secants)
        geometry.choose(found.non_finite, rows.best, moved, out=rows.y)


class ByteSteps(ScheduledSteps):
    """`ScheduledSteps` from image of bytes to image of bytes: what a file of 8 bits a channel can hold.

    Every iterate is rounded towards its centre, so that no norm grows; a pixel whose centre is no byte keeps the centre
    where rounding would carry it away.

    Args:
        norm: The norm of ball and steps.
        eps: Radius.
        sizes: Length of every step in pixel units.
        momentum: Share of the earlier steps' direction in the next one.
        centers: (N, C, H, W) the attacked images, by the rows' samples.
    """

    def __init__(
        self, norm: Norm, eps: float, sizes: tuple[float, ...], momentum: tuple[float, ...], centers: Tensor
    ) -> None:
        super().__init__(norm, eps, sizes, momentum)
        self.centers = centers

    def move(self, rows: Rows, found: Found) -> None:
        """A step, projected and rounded."""
        super().move(rows, found)
        center, scaled = self.centers[rows.sample], rows.y * 255
        rounded = torch.where(rows.y > center, scaled.floor(), scaled.ceil()) / 255
        nearer = (rounded - center).abs() <= (rows.y - center).abs()
        rows.y.copy_(torch.where(nearer, rounded, center))
