"""Algorithms 1 and 2 of the GAT paper in the plane: where D is high, and where the mass of p_t goes."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StringConstraints
from torch import Tensor, nn
from torch.nn.functional import softplus

from bench.repro.claims import Measured, Ref
from bench.repro.experiments import ExperimentArgs, Outcome, Surroundings
from bench.repro.panels import Panel, field, line

SIDE = 61
"""Of the grid on which D is looked at."""

EXTENT = 1.0
"""The data space is the square of side 2 around the origin."""

NEAR = 0.15
"""What lies within this of a point of p_k counts as its support."""

_Title = Annotated[str, StringConstraints(min_length=1, max_length=120)]


class Solver(StrEnum):
    """Which problem is solved."""

    MAXIMIN = "maximin"  # Algorithm 1: p_t begins anew at p_-k before every step of D
    MINIMAX = "minimax"  # Algorithm 2: the points of p_t move on from where they are


class Start(StrEnum):
    """Where p_-k lies."""

    UNIFORM = "uniform"  # in the whole square
    CORNER = "corner"  # around one point


class Scene(ExperimentArgs):
    """One simulation."""

    solver: Solver
    start: Start = Start.UNIFORM


class Args(ExperimentArgs):
    """Of `plane`; lengths in units of half the square's side.

    Attributes:
        scenes: Simulations by the name of a row.
        steps: Of D.
        ascents: Steps of p_t before each step of D; of the minimax solver, one.
        step_size: Length of a step of p_t.
        batch: Points of p_k and of p_t.
        lr: Of D, by Adam.
        frequency: Of the random Fourier features that D sees, in half-sides; the larger, the sharper D can be.
        early: Also draw D after so many steps.
        seed: Of everything.
    """

    scenes: dict[_Title, Scene] = Field(min_length=1, max_length=6)
    steps: int = Field(default=3000, ge=1, le=100_000)
    ascents: int = Field(default=20, ge=1, le=200)
    step_size: float = Field(default=0.1, gt=0)
    batch: int = Field(default=128, ge=2, le=4096)
    lr: float = Field(default=1e-3, gt=0)
    frequency: float = Field(default=2.0, gt=0)
    early: tuple[int, ...] = ()
    seed: int = 0


class _D(nn.Module):
    """The logit of D: random Fourier features and two hidden layers."""

    def __init__(self, frequency: float, generator: torch.Generator) -> None:
        super().__init__()
        self.waves = nn.Parameter(frequency * torch.randn((2, 64), generator=generator), requires_grad=False)
        self.layers = nn.Sequential(nn.Linear(130, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1))
        for part in self.layers:
            if isinstance(part, nn.Linear):
                bound = part.in_features**-0.5
                for values in (part.weight, part.bias):
                    values.data = (2 * torch.rand(values.shape, generator=generator) - 1) * bound

    def forward(self, x: Tensor) -> Tensor:
        turn = x @ self.waves
        found: Tensor = self.layers(torch.cat([x, turn.sin(), turn.cos()], dim=1)).squeeze(1)
        return found


def measured(args: Args, surroundings: Surroundings) -> Outcome:
    """For every scene, columns: "support", "elsewhere", "peaks", "above" and "distance".

    "support" is the mean of D on p_k, from its lowest to its highest decile; "elsewhere" the largest D off the support
    on the grid; "above" the share of the grid off the support with D above its mean on the support; "peaks" the number
    of local maxima of D on the grid off the support that are above 1/2; "distance" the median distance of points of
    p_t from the nearest point of p_k.
    """
    figures: dict[Ref, Measured] = {}
    panels: list[Panel] = []
    for name, scene in args.scenes.items():
        found, drawn = _simulated(name, scene, args)
        figures |= {(name, column): figure for column, figure in found.items()}
        panels += drawn
    return Outcome(figures, tuple(panels))


def _simulated(name: str, scene: Scene, args: Args) -> tuple[dict[str, Measured], list[Panel]]:
    generator = torch.Generator().manual_seed(args.seed)
    d = _D(args.frequency, generator)
    optimizer = torch.optim.Adam([p for p in d.parameters() if p.requires_grad], lr=args.lr)
    moving = _outside(scene.start, args.batch, generator)
    drawn = []
    for step in range(args.steps + 1):
        if scene.solver is Solver.MAXIMIN:
            moving = _ascended(d, _outside(scene.start, args.batch, generator), args.ascents, args.step_size)
        else:
            moving = _ascended(d, moving, 1, args.step_size)
        if step in (*args.early, args.steps):
            words = name if step == args.steps else f"{name}, step {step}"
            drawn.append(_drawn(words, d, moving, scene, generator))
        inside = _inside(args.batch, generator)
        loss = softplus(-d(inside)).mean() + softplus(d(moving)).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return _told(d, moving, generator), drawn


def _inside(count: int, generator: torch.Generator) -> Tensor:
    """p_k: three round clusters, two of which are near each other."""
    centres = torch.tensor([[-0.45, 0.4], [0.1, 0.45], [0.4, -0.45]])
    which = torch.randint(3, (count,), generator=generator)
    return centres[which] + 0.05 * torch.randn((count, 2), generator=generator)


def _outside(start: Start, count: int, generator: torch.Generator) -> Tensor:
    if start is Start.UNIFORM:
        return EXTENT * (2 * torch.rand((count, 2), generator=generator) - 1)
    return torch.tensor([-0.8, -0.8]) + 0.05 * torch.randn((count, 2), generator=generator)


def _ascended(d: _D, x: Tensor, steps: int, size: float) -> Tensor:
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(d(x).sum(), x)
        length = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
        x = (x.detach() + size * gradient / length).clamp(-EXTENT, EXTENT)
    return x.detach()


@torch.no_grad()
def _told(d: _D, moving: Tensor, generator: torch.Generator) -> dict[str, Measured]:
    inside = _inside(2000, generator)
    on = torch.sigmoid(d(inside)).double()
    points, values = _grid(d)
    far = (torch.cdist(points, inside).amin(dim=1) > NEAR).numpy()
    off = values.ravel()[far]
    nearest = torch.cdist(moving, inside).amin(dim=1).double()
    peaks = int((_peaks(values) & far.reshape(values.shape) & (values > 0.5)).sum())
    top, above = float(off.max()), float((off > float(on.mean())).mean())
    middle = float(nearest.median())
    return {
        "support": Measured(float(on.mean()), *_deciles(on)),
        "elsewhere": Measured(top, top, top),
        "above": Measured(above, above, above),
        "peaks": Measured(peaks, peaks, peaks),
        "distance": Measured(middle, *_deciles(nearest, middle)),
    }


def _deciles(values: Tensor, middle: float | None = None) -> tuple[float, float]:
    centre = float(values.mean()) if middle is None else middle
    return min(centre, float(values.quantile(0.1))), max(centre, float(values.quantile(0.9)))


def _grid(d: _D) -> "tuple[Tensor, np.ndarray]":
    at = torch.linspace(-EXTENT, EXTENT, SIDE)
    y, x = torch.meshgrid(at, at, indexing="ij")
    points = torch.stack([x.ravel(), y.ravel()], dim=1)
    return points, torch.sigmoid(d(points)).double().reshape(SIDE, SIDE).numpy()


def _peaks(values: np.ndarray) -> np.ndarray:
    """Where a value is larger than its eight neighbours, edges included."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    around = [
        padded[1 + dy : 1 + dy + SIDE, 1 + dx : 1 + dx + SIDE] for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
    ]
    found: np.ndarray = np.all([values > other for other in around], axis=0)
    return found


@torch.no_grad()
def _drawn(name: str, d: _D, moving: Tensor, scene: Scene, generator: torch.Generator) -> Panel:
    _, values = _grid(d)
    clouds = {"p_k": _inside(100, torch.Generator().manual_seed(1)), "p_t": moving[:100]}
    points = [line(label, cloud[:, 0].tolist(), cloud[:, 1].tolist()) for label, cloud in clouds.items()]
    return field(name, values, EXTENT, points)
