"""Shares of images with their exact 95 % intervals."""

from bench.repro.claims import Measured


def share(count: int, of: int) -> Measured:
    """So many of so many, with the interval of Clopper and Pearson (1934)."""
    from scipy.stats import binomtest

    value = count / of
    ends = binomtest(count, of).proportion_ci()
    return Measured(value, min(value, float(ends.low)), max(value, float(ends.high)))
