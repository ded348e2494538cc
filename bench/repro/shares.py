"""Shares of images with their exact 95 % intervals."""

from bench.lazy import lazily
from bench.repro.claims import Measured

with lazily():
    from scipy import stats


def share(count: int, of: int) -> Measured:
    """So many of so many, with the interval of Clopper and Pearson (1934)."""
    value = count / of
    ends = stats.binomtest(count, of).proportion_ci()
    return Measured(value, min(value, float(ends.low)), max(value, float(ends.high)))
