"""Scores or logits out of whatever a model of others returns."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from bench.detectors.base import score_type
from bench.errors import UsageError


def read_output(output: Any, x: Tensor, *, classes: int, name: str) -> Tensor:
    """A tensor on the images' device, in the type that holds its numbers.

    Of an object or a dict with `logits`, these. Of another dict or a tuple, the one entry that has a row an image, or
    of several the one with as many columns as the track has classes.

    Args:
        output: What the model returned.
        x: (N, C, H, W) the images that it was given.
        classes: The number of ID classes.
        name: What a person calls the model.

    Raises:
        UsageError: It is no such thing, or nothing tells which entry is meant.
    """
    chosen = _chosen(output, len(x), classes, name)
    tensor = torch.as_tensor(chosen)
    if tensor.is_complex():
        raise UsageError(f"{name} returns {tensor.dtype}; return real numbers.")
    # Outside inference mode, tensors that were made in it can only be copied.
    tensor = (tensor.clone() if tensor.is_inference() else tensor).to(device=x.device, dtype=score_type(tensor.dtype))
    return tensor if tensor.ndim else tensor[None]


def _chosen(output: Any, count: int, classes: int, name: str) -> Tensor | np.ndarray:
    if _is_array(output):
        return output
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if _is_array(logits):
        return logits
    entries = _entries(output)
    fitting = {key: value for key, value in entries.items() if value.ndim in (1, 2) and len(value) == count}
    of_classes = {key: value for key, value in fitting.items() if value.ndim == 2 and value.shape[1] == classes}
    for found in (of_classes, fitting):
        if len(found) == 1:
            chosen: Tensor | np.ndarray = next(iter(found.values()))
            return chosen
    held = ", ".join(f"{key}: {tuple(value.shape)}" for key, value in list(entries.items())[:8])
    raise UsageError(
        f"{name} returns something of type {type(output).__name__}{f' with {held}' if held else ''}; return a tensor "
        "or an array of (N,) scores or (N, K) logits, for example by a function `lambda x: model(x).logits`."
    )


def _entries(output: Any) -> dict[str, Any]:
    """The tensors and arrays of a dict, a tuple or a dataclass, by key, position or field."""
    if isinstance(output, Mapping):
        items = {str(key): value for key, value in output.items()}
    elif isinstance(output, tuple | list):
        items = {str(position): value for position, value in enumerate(output)}
    else:
        items = dict(getattr(output, "__dict__", {}))
    return {key: value for key, value in items.items() if _is_array(value)}


def _is_array(value: Any) -> "TypeGuard[Tensor | np.ndarray]":
    return isinstance(value, Tensor | np.ndarray)
