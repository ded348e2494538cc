"""What papers derive, with figures that follow from formulas or from a few numbers: no cell is run for these.

Each gives figures by row and column, for the layout of an entry that names it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.stats import binomtest

from bench.cards.errors import first_problem
from bench.errors import UsageError, unknown_name
from bench.repro.claims import Measured, Ref

Figures = dict[Ref, Measured]


class _Args(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CounterExampleArgs(_Args):
    """Of `counter_example`.

    Attributes:
        lambda_1: Share of class 0 that lies in the unit ball; the model's is (1 + delta)^-d.
        lambda_2: The same of class 1.
        delta: Radius of the attack, and width of the annulus.
        dimension: d.
        samples: Points drawn from the data.
        seed: Of the draw.
    """

    lambda_1: float = Field(gt=0, lt=1)
    lambda_2: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, le=1)
    dimension: int = Field(ge=2, le=10_000)
    samples: int = Field(default=2000, ge=10, le=100_000)
    seed: int = 0


def counter_example(args: CounterExampleArgs) -> Figures:
    """The data and the model of which no likelihood tells an attack (Fetaya et al. 2020, section 2 and appendix D).

    p(x|0) = l1 U(0, 1) + (1 - l1) U(1, 1 + D), p(x|1) = l2 U(0, 1) + (1 - l2) U(2, 3), with U(a, b) uniform between the
    spheres of radius a and b; the model q(x|0) = U(0, 1 + D), and q(x|1) = p(x|1). Points of p are drawn, and of those
    that q classifies rightly the radius is brought to just below 1, where that is no more than D away: q must then call
    them class 1, p class 0, and q(x) must not have fallen. Densities are in logarithms; the volume of the unit ball
    cancels. The divergences are those of Lemmas 2 and 3, and the confidences those of Lemma 1.
    """
    rng, d, delta = np.random.default_rng(args.seed), args.dimension, args.delta
    inner, outer, small = np.log(args.lambda_1), np.log1p(-args.lambda_1), np.log(args.lambda_2)
    grown = d * np.log1p(delta)  # log of the volume of the ball of radius 1 + D
    ring = grown + np.log1p(-np.exp(-grown))  # of the annulus from 1 to 1 + D
    label = rng.random(args.samples) < 0.5  # class 1
    inside = rng.random(args.samples) < np.where(label, args.lambda_2, args.lambda_1)
    ends = np.where(inside[:, None], [0.0, 1.0], np.where(label[:, None], [2.0, 3.0], [1.0, 1.0 + delta]))
    radius = _drawn_radii(rng, ends, d)

    def model(r: Any) -> tuple[Any, Any]:
        """Log densities of q under class 0 and 1."""
        far = d * np.log(3.0) + np.log1p(-np.exp(d * np.log(2.0 / 3.0)))
        of_1 = np.where(r <= 1, small, np.where((r >= 2) & (r <= 3), np.log1p(-args.lambda_2) - far, -np.inf))
        return np.where(r <= 1 + delta, -grown, -np.inf), of_1

    def data(r: Any) -> tuple[Any, Any]:
        """The same of p."""
        return np.where(r <= 1, inner, np.where(r <= 1 + delta, outer - ring, -np.inf)), model(r)[1]

    moved = np.minimum(radius, 1.0)
    q_before, q_after, p_after = model(radius), model(moved), data(moved)
    right = (q_before[1] > q_before[0]) == label
    attacked = (
        right
        & ~label
        & (radius - moved <= delta)
        & (radius > 1)
        & (q_after[1] > q_after[0])
        & (p_after[0] > p_after[1])
        & (np.logaddexp(*q_after) >= np.logaddexp(*q_before))
    )
    emptied = np.exp(-grown)  # share of the ball of radius 1 + D that the unit ball takes
    forward = emptied * (-grown - inner) + (1 - emptied) * (np.log1p(-emptied) - outer)
    backward = args.lambda_1 * (inner + grown) + (1 - args.lambda_1) * (outer - np.log1p(-emptied))
    wrong = args.lambda_2 / (args.lambda_2 + emptied)
    return {
        ("counter-example", "right"): _share(right.mean(), args.samples),
        ("counter-example", "attacked"): _share(attacked.mean(), args.samples),
        ("counter-example", "wrong-confidence"): _exact(wrong),
        ("counter-example", "true-confidence"): _exact(args.lambda_1 / (args.lambda_1 + args.lambda_2)),
        ("counter-example", "kl-q-p"): _exact(0.5 * forward),
        ("counter-example", "kl-p-q"): _exact(0.5 * backward),
    }


def _drawn_radii(rng: np.random.Generator, ends: Any, d: int) -> Any:
    """Radii uniform in the volume between two spheres each, in logarithms so that no power overflows."""
    low, high = ends[:, 0], ends[:, 1]
    share = (low / high) ** d
    return high * (share + rng.random(len(ends)) * (1.0 - share)) ** (1.0 / d)


class NullSpaceArgs(_Args):
    """Of `null_space`: a random layer of `outputs` x `inputs`, and so many times the length of x as is added."""

    inputs: int = Field(default=3072, ge=2, le=20_000)
    outputs: int = Field(default=10, ge=1, le=1000)
    times: float = Field(default=10.0, gt=0, le=1e6)
    seed: int = 0


def null_space(args: NullSpaceArgs) -> Figures:
    """A linear layer z = Wx gives x and x + eta the same z for every eta of its null space (Liang et al. 2020, 2.2).

    eta is a random vector less its part in the row space of W, made `times` as long as x.
    """
    rng = np.random.default_rng(args.seed)
    weights = rng.standard_normal((args.outputs, args.inputs))
    x, drawn = rng.random(args.inputs), rng.standard_normal(args.inputs)
    rows, _ = np.linalg.qr(weights.T)
    eta = drawn - rows @ (rows.T @ drawn)
    eta *= args.times * np.linalg.norm(x) / np.linalg.norm(eta)
    before, after = weights @ x, weights @ (x + eta)
    mape = float(np.abs(after - before).mean() / np.abs(before).max())
    moved = float(np.linalg.norm(eta) / np.linalg.norm(x))
    return {("linear layer", "mape"): _exact(100 * mape), ("linear layer", "moved"): _exact(moved)}


class MaximinArgs(_Args):
    """Of `maximin`: payoffs f(u, v), a row for each v."""

    payoffs: tuple[tuple[float, ...], ...] = Field(min_length=1, max_length=50)


def maximin(args: MaximinArgs) -> Figures:
    """max_v min_u f(u, v) of a finite game, and min_u max_v f(u, v), which is never less (GAT paper, appendix B, C)."""
    table = np.asarray(args.payoffs, dtype=np.float64)
    return {
        ("finite game", "maximin"): _exact(float(table.min(axis=1).max())),
        ("finite game", "minimax"): _exact(float(table.max(axis=0).min())),
    }


class SolverArgs(_Args):
    """Of `maximin_solver`: p_k takes the first `support` of so many points, and S those from one on.

    Attributes:
        points: How many.
        support: The points of p_k, which is uniform on them.
        starts: By the name of a scenario, the first point of the perturbation space S, which has all from there on.
        steps: Of the algorithm.
        rate: Of the first step; the t-th is shorter by the square root of t.
        seed: Of D's first values.
    """

    points: int = Field(default=24, ge=2, le=1000)
    support: int = Field(ge=1, le=999)
    starts: dict[str, int] = Field(min_length=1, max_length=10)
    steps: int = Field(default=20_000, ge=10, le=200_000)
    rate: float = Field(default=0.05, gt=0, le=1)
    seed: int = 0


def maximin_solver(args: SolverArgs) -> Figures:
    """Algorithm 1 of the GAT paper as its Proposition 1 has it: step 2 solved exactly, step 3 in D's function space.

    D is a value a point. Step 2 puts all mass of p_t where D is largest in S; step 3 follows the gradient of
    U = E_pk log D + E_pt log(1 - D). min over p_t of U is concave in D, so these are subgradient steps towards the
    maximin solution; D is the mean over the second half of them. Of every perturbation space of `starts` it gives D on
    the support inside S, on the support outside, and the largest D in S off the support, where there are such points.
    """
    figures: Figures = {}
    for name, start in args.starts.items():
        found, at = _solved(args, start), np.arange(args.points)
        parts = {
            "inside": found[(at < args.support) & (at >= start)],
            "outside": found[(at < args.support) & (at < start)],
            "elsewhere": found[(at >= args.support) & (at >= start)],
        }
        for part, values in parts.items():
            if len(values):
                middle = float(values.max() if part == "elsewhere" else values.mean())
                figures[name, part] = Measured(middle, float(values.min()), float(values.max()))
    return figures


def _solved(args: SolverArgs, start: int) -> Any:
    """(points,) D where S begins at a point."""
    rng = np.random.default_rng(args.seed)
    d = rng.uniform(0.05, 0.95, args.points)
    p_k = np.where(np.arange(args.points) < args.support, 1.0 / args.support, 0.0)
    total = np.zeros_like(d)
    for step in range(args.steps):
        slope = p_k / d
        top = start + int(np.argmax(d[start:]))
        slope[top] -= 1.0 / (1.0 - d[top])
        d = np.clip(d + args.rate / np.sqrt(step + 1.0) * slope, 1e-4, 1 - 1e-4)
        total += d if 2 * step >= args.steps else 0.0
    return total / (args.steps - (args.steps + 1) // 2)


def _exact(value: float) -> Measured:
    return Measured(float(value), float(value), float(value))


def _share(value: float, count: int) -> Measured:
    ends = binomtest(round(float(value) * count), count).proportion_ci()
    return Measured(float(value), min(float(value), float(ends.low)), max(float(value), float(ends.high)))


CLOSED_FORMS: Mapping[str, tuple[type[_Args], Callable[[Any], Figures]]] = {
    "counter-example": (CounterExampleArgs, counter_example),
    "null-space": (NullSpaceArgs, null_space),
    "maximin": (MaximinArgs, maximin),
    "maximin-solver": (SolverArgs, maximin_solver),
}
"""By the name in an entry: the arguments, and the function."""


def figures_of(name: str, args: Mapping[str, Any]) -> Figures:
    """The figures of a closed form.

    Raises:
        UsageError: There is none of that name, or its arguments are wrong.
    """
    if name not in CLOSED_FORMS:
        raise UsageError(str(unknown_name("closed form", name[:80], CLOSED_FORMS)).partition(" `bench list")[0])
    model, function = CLOSED_FORMS[name]
    try:
        return function(model.model_validate(dict(args)))
    except ValidationError as error:
        wrong = first_problem(error, "its arguments")
        raise UsageError(f"closed form '{name}': {wrong}; correct the entry.") from None
