"""Random numbers that depend on nothing but (seed, sample id, draw): a counter-based generator.

The order of samples, their batch mates, the number of workers and the global generator have no part in them.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, the increment of splitmix64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from anything that prints the same everywhere."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def uniform(seed: int, ids: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers uniform in (0, 1), one block a sample.

    Args:
        seed: The seed of the cell.
        ids: (N,) int64, the samples' ids.
        draw: Which draw of these samples this is; other draws are independent.
        shape: The shape of one sample's block.

    Returns:
        (N, *shape) float32 on the device of `ids`.
    """
    return uniform_draws(seed, ids, range(draw, draw + 1), shape)[0]


def uniform_draws(seed: int, ids: Tensor, draws: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """(D, N, *shape) the same of several draws at once, each as `uniform` gives it."""
    count = math.prod(shape)
    turns = torch.tensor([derive_seed("draw", draw) for draw in draws], dtype=torch.int64).to(ids.device)
    key = _mix(_mix(_mix(ids.to(torch.int64)) ^ derive_seed("seed", seed)) ^ turns[:, None])
    counter = torch.arange(1, count + 1, dtype=torch.int64, device=ids.device)
    bits = _mix(key[..., None] + counter * _GOLDEN)
    top = _shift(bits, 40)  # 24 random bits: every value is exact in float32
    return ((top.to(torch.float32) + 0.5) * 2.0**-24).reshape(len(turns), len(ids), *shape)


def normal(seed: int, ids: Tensor, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers, one block a sample, by Box and Muller (1958); arguments as in `uniform`."""
    count = math.prod(shape)
    half = (count + 1) // 2
    u = uniform(seed, ids, draw, (2, half))
    radius = torch.sqrt(-2.0 * torch.log(u[:, 0]))
    angle = 2.0 * math.pi * u[:, 1]
    both = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
    return both[:, :count].reshape(len(ids), *shape)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own keeps the sign)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)
