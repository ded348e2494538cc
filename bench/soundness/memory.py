"""Whether a score depends on more than the image: on who asks, or on what was asked before."""

import copy

import torch
from torch import Tensor

from bench.detectors.base import Detector
from bench.detectors.untouched import untouched

QUESTIONS = 1
"""How often a neighbour is asked about before an image is, with a gradient and without."""

ASIDE = 0.1
"""How far an image lies from its neighbour on the way to another image."""


def hidden_dependence(detector: Detector, x: Tensor, iqr: float, size: int) -> dict[str, float]:
    """Largest differences of scores of the same images, in IQRs: asked for gradients, after questions about neighbours.

    An attack asks for gradients, and again and again about the same surroundings; who prints a score does neither. The
    images of the second comparison were never asked about: they lie between those given. Of two copies of the detector
    one is asked about them at once and the other about their neighbours first. It is left out of a detector that cannot
    be copied.

    Args:
        detector: Any; a random one is asked for its deterministic form.
        x: (N, C, H, W) images.
        iqr: Of the clean ID scores.
        size: The batch shape; the last, smaller batch is left out.
    """
    size = min(size, len(x))
    x = x[: len(x) // size * size]
    with untouched(detector):
        found = {"asked_for_gradients": _apart(_scores(detector, x, size, gradients=True), _scores(detector, x, size))}
        copies = _copies(detector)
        if copies is not None:
            fresh, asked = copies
            neighbours = torch.lerp(x, x.roll(1, 0), 0.5)
            between = torch.lerp(neighbours, x, ASIDE)
            for _ in range(QUESTIONS):
                _scores(asked, neighbours, size)
                _scores(asked, neighbours, size, gradients=True)
            found["after_its_neighbours"] = _apart(_scores(asked, between, size), _scores(fresh, between, size))
    return {name: value / iqr for name, value in found.items()}


def _copies(detector: Detector) -> tuple[Detector, Detector] | None:
    try:
        return copy.deepcopy(detector), copy.deepcopy(detector)
    except Exception:  # whatever a stranger's module raises that does not mean to be copied
        return None


def _scores(detector: Detector, x: Tensor, size: int, *, gradients: bool = False) -> Tensor:
    """(N,) scores, batch by batch from one random state, as they are given to who asks for gradients or does not."""
    torch.manual_seed(0)  # undeclared randomness is another check's
    with torch.set_grad_enabled(gradients):
        parts = [part.clone().requires_grad_(gradients) for part in torch.split(x, size)]
        return torch.cat([detector.score(part).detach() for part in parts])


def _apart(a: Tensor, b: Tensor) -> float:
    return float(torch.nan_to_num((a - b).abs().double(), nan=1e6).max().clamp(max=1e6))
