"""A backward pass that goes straight through what has no gradient: roundings, limits, bends, detached tensors.

Backward pass differentiable approximation (BPDA: Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false
sense of security", section 4.1), with the identity as the approximation and for any detector written in torch: while
the mode is on, the functions below compute what they always do and hand every gradient on unchanged.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_METHODS = (
    "round",
    "floor",
    "ceil",
    "trunc",
    "fix",
    "sign",
    "sgn",
    "frac",
    "clamp",
    "clip",
    "clamp_min",
    "clamp_max",
    "sigmoid",
    "tanh",
    "erf",
    "atan",
    "arctan",
)

_STRAIGHT: frozenset[Any] = frozenset(
    [getattr(owner, name) for owner in (torch, Tensor) for name in _METHODS if hasattr(owner, name)]
    + [torch.floor_divide, Tensor.floor_divide, Tensor.__floordiv__, functional.hardtanh, functional.hardsigmoid]
)
"""Rising functions of one tensor whose gradient is zero, or next to it, somewhere."""

_DETACHED: frozenset[Any] = frozenset(
    [torch.detach, Tensor.detach, Tensor.data.__get__]  # type: ignore[attr-defined]
)


class StraightThrough(TorchFunctionMode):
    """While it is on, gradients pass where a detector written in torch would stop them; values stay what they are."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What the function gives, with a gradient of one to what it is of."""
        kwargs = kwargs or {}
        if func is torch._C._set_grad_enabled:
            return None  # `no_grad` inside a score stops nothing
        source = args[0] if args else None
        if not (isinstance(source, Tensor) and source.is_floating_point() and source.requires_grad):
            return func(*args, **kwargs)
        if func in _DETACHED:
            return source.view_as(source)
        value = func(*args, **kwargs)
        if func not in _STRAIGHT or not isinstance(value, Tensor) or value.shape != source.shape:
            return value
        with torch._C.DisableTorchFunction():
            return source + (value - source).detach() if value.dtype == source.dtype else value
