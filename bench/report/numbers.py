"""How figures are written: one manner for every table."""

import math

from bench.cards.threat import Norm
from bench.evaluation.results import MeanMetrics, SetMetrics

ABSENT = "-"
"""What stands where there is no figure."""


def clean_auroc(metrics: SetMetrics | MeanMetrics | None, *, with_interval: bool = False) -> str:
    """The clean AUROC of a set or of the mean; at 0 or 1 always as its interval, which says more than the figure."""
    if metrics is None:
        return ABSENT
    return _estimate(metrics.clean_auroc, metrics.clean_low, metrics.clean_high, with_interval)


def attacked_auroc(
    metrics: SetMetrics | MeanMetrics | None, *, with_interval: bool = False, doubted: bool = False
) -> str:
    """The attacked AUROC of a set or of the mean; at 0 or 1 its interval; `!` where the attack cannot be believed."""
    if metrics is None:
        return ABSENT
    return _estimate(metrics.auroc, metrics.low, metrics.high, with_interval, mark="!" if doubted else "")


def with_ends(value: float, low: float, high: float) -> str:
    """A figure with the ends of its interval: `0.967 [0.955, 0.976]`."""
    return f"{value:.3f} {interval(low, high)}"


def interval(low: float, high: float) -> str:
    """An interval of shares: `[0.955, 0.976]`."""
    return f"[{low:.3f}, {high:.3f}]"


def with_optional_ends(value: float | None, low: float | None, high: float | None) -> str:
    """The same where there are ends: cells of earlier versions have none of some figures."""
    return share(value) if value is None or low is None or high is None else with_ends(value, low, high)


def share(value: float | None) -> str:
    """A share or an AUROC without an error: three digits."""
    return ABSENT if value is None else f"{value:.3f}"


def percent(value: float) -> str:
    """A share in per cent, never rounded to a misleading 0 or 100."""
    if 0 < value < 0.01:
        return "under 1 %"
    if 0.99 < value < 1:
        return "over 99 %"
    return f"{100 * value:.0f} %"


def amount(value: int) -> str:
    """A count in at most five characters: 950, 12.3k, 1.25M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value < 999.5 * size else f"{value / size:.0f}{letter}"
    return str(value)


def seconds(value: float) -> str:
    """A duration: tenths below ten seconds, whole seconds above."""
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def radius(eps: float) -> str:
    """A radius in [0, 1] pixel units, as short as three digits allow."""
    return f"{eps:.3g}"


def ball(norm: Norm | None, eps: float | None) -> str:
    """A norm and radius as people say them: `L2 1`, `Linf 8/255`, `L0 10 values`."""
    if norm is None or eps is None:
        return "any distance"
    if norm is Norm.L0:
        return f"L0 {eps:g} values"
    steps = 255 * eps
    if norm is Norm.LINF and math.isclose(steps, round(steps), rel_tol=1e-3):
        return f"Linf {round(steps)}/255"
    return f"{'Linf' if norm is Norm.LINF else norm.value.upper()} {radius(eps)}"


def both_scales(norm: Norm | None, eps: float | None) -> str:
    """A radius in [0, 1] pixel units and on the 0 to 255 scale: `0.0314 = 8/255` or `1 (255 on the 0-255 scale)`."""
    if eps is None or norm is None:
        return ""
    if norm is Norm.L0:
        return f"{eps:g} values"
    scaled = f"{eps * 255:.4g}"
    return f"{radius(eps)} = {scaled}/255" if norm is Norm.LINF else f"{radius(eps)} ({scaled} on the 0-255 scale)"


def _estimate(value: float, low: float, high: float, with_interval: bool, mark: str = "") -> str:
    if not math.isfinite(value):
        return f"{ABSENT}{mark}"
    if value <= 0:
        return f"[0, {high:.3f}]{mark}"
    if value >= 1:
        return f"[{low:.3f}, 1]{mark}"
    figure = f"{value:.3f}{mark}"
    return f"{figure} {interval(low, high)}" if with_interval else figure
