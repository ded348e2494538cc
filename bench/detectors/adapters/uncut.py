"""Code of others that cuts its scores from the images by `no_grad`, `detach` or `data`, run as if it did not."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.detectors.central_differences import directional_errors

STEPS = (1e-6, 1e-4, 1e-3, 1e-2)
"""Lengths of central differences: rounding spoils the short ones (in float32 all but the last), curvature the long."""

ERROR = 1e-2
"""What a derivative may be off by, at its best step; a gradient that lacks a term is off by far more."""

AGREEING = 0.9
"""Share of the derivatives that must agree: a step across a kink spoils single ones."""


ROUNDED = 0.05
"""What a gradient in float32 may be off by from the same in float64, in the median."""


class Uncut(TorchFunctionMode):
    """While it is entered, nothing switches gradients off and nothing is cut from the graph.

    What is differentiated may then be another function than the one that was meant, so a gradient that is found like
    this must be compared with differences: see `why_not`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.detach or getattr(func, "__self__", None) is torch.Tensor.data:
            return args[0]
        if func is torch._C._set_grad_enabled:
            return None
        return func(*args, **(kwargs or {}))


def why_not(score: Callable[[Tensor], Tensor], images: Tensor) -> str:
    """Why the gradient of a score cannot be followed, as a clause; empty where it agrees with central differences.

    Args:
        score: From (N, C, H, W) images to (N,) scores; with a gradient where the images ask for one.
        images: (N, C, H, W) in [0, 1]; in float64 where the score can be taken in it.
    """
    x = _tried(images)
    leaf = x.clone().requires_grad_(True)
    try:
        followed = score(leaf)
        gradient = _gradient(followed, leaf)
    except Exception as error:  # whatever the code of others raises
        reason = " ".join(str(error).split())[:100]
        return f"its gradient cannot be followed ({type(error).__name__}: {reason})"
    with torch.no_grad():
        plain = score(x)
    if not torch.allclose(followed.detach(), plain, rtol=1e-4, atol=1e-4 * float(plain.std())):
        return "its scores are others when they are followed"
    if gradient is None:
        return "its gradient does not reach the images"
    return _fault(score, x, gradient)


def rounded_away(score: Callable[[Tensor], Tensor], wide: Callable[[Tensor], Tensor], images: Tensor) -> str:
    """Why the float32 gradient, which attacks follow, is none though the same in float64 is, as a clause; else empty.

    Args:
        score: As for `why_not`, in float32.
        wide: The same in float64.
        images: (N, C, H, W) in [0, 1], in float32.
    """
    found = []
    for each, x in ((score, _tried(images)), (wide, _tried(images.double()))):
        leaf = x.requires_grad_(True)
        found.append(torch.autograd.grad(each(leaf).sum(), leaf)[0].double().flatten(1))
    lengths = found[1].norm(dim=1)
    errors = ((found[0] - found[1]).norm(dim=1) / lengths)[(lengths > 0) & found[0].any(dim=1)]
    if float(errors.median()) <= ROUNDED:  # NaN where no image has both gradients
        return ""
    return "its gradient in float32 is another than in float64"


def _tried(images: Tensor) -> Tensor:
    """Images away from the box, and mixtures of them."""
    return 0.05 + 0.9 * torch.cat([images, torch.lerp(images, images.flip(0), 0.4)])


def _gradient(scores: Tensor, leaf: Tensor) -> Tensor | None:
    """The gradient of scores in their images, None where it does not reach them."""
    if not scores.requires_grad:
        return None
    return torch.autograd.grad(scores.sum(), leaf, allow_unused=True)[0]


def _fault(score: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor) -> str:
    """How a gradient differs from central differences, as a clause; empty where it does not."""
    if not bool(gradient.isfinite().all()):
        return "its gradient is not finite"
    if not bool(gradient.any()):
        return "its gradient is 0 at every image that was tried"
    errors = directional_errors(score, x, gradient, STEPS, ERROR)
    share = float((errors[~errors.isnan()] <= ERROR).double().mean().nan_to_num())
    if share >= AGREEING:
        return ""
    return f"its gradient agrees with central differences in {share:.0%} of directions, and {AGREEING:.0%} are needed"


def converted(value: Any, change: Callable[[Tensor], Tensor], library: str) -> Any:
    """What objects of a library hold, with every tensor changed as `nn.Module._apply` does it; modules in place.

    Args:
        value: A tensor, a module, a collection, an object of the library; anything else stays as it is.
        change: From a tensor to one of another type or on another device.
        library: The package whose objects are gone through.
    """
    if isinstance(value, nn.Parameter):
        value.data = change(value.data)
    elif isinstance(value, Tensor):
        return change(value)
    elif isinstance(value, nn.Module):
        value._apply(change)  # type: ignore[no-untyped-call]  # torch leaves it without types
    elif type(value) in (list, tuple):
        return type(value)(converted(part, change, library) for part in value)
    elif isinstance(value, dict):
        value.update({name: converted(part, change, library) for name, part in value.items()})
    elif type(value).__module__.partition(".")[0] == library and hasattr(value, "__dict__"):
        vars(value).update(converted(dict(vars(value)), change, library))
    return value
