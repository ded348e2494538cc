"""A function or module of one's own as a detector."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bench.cards.base import MethodPath
from bench.cards.code.methods import import_method
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import DetectorParams
from bench.detectors.networks.base import FromPixels
from bench.detectors.wanted import SCORER
from bench.errors import UsageError


class GivenDetector(OutputDetector):
    """A function, or an `nn.Module` that is made already.

    It takes (N, C, H, W) float images in [0, 1], on the device of the run, and returns (N,) scores, higher for
    in-distribution, or (N, K) logits; a module that has a method `score` is asked for that. A module stays its owner's:
    it is in evaluation mode and frozen while it is asked, and as it was afterwards.

    Args:
        target: The function or module.
        name: What a person calls it.
        shape: (C, H, W) of the images.
        classes: The number of ID classes.
        params: Of the card.

    Raises:
        UsageError: It is neither, or cannot score images of the track.
    """

    lent = True

    def __init__(
        self, target: Any, name: str, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(None, shape=shape, classes=classes, params=params)
        if isinstance(target, type) or not callable(target):
            raise UsageError(
                f"{name} is {'a class' if isinstance(target, type) else f'of type {type(target).__name__}'}; "
                "name a function, or an nn.Module that is made already."
            )
        if isinstance(target, nn.Module):
            scored: Callable[[Tensor], Any] = target.score if callable(getattr(target, "score", None)) else target  # type: ignore[assignment]
            self.wrap(scored, name, target)
        else:
            self.wrap(target, name)


class CallableParams(DetectorParams):
    """Parameters of `CallableDetector`: the `target` as package.module:attribute."""

    target: MethodPath


class CallableDetector(GivenDetector):
    """What `target` names, as `GivenDetector` takes it.

    Its source enters the key of a cell, but not files that it reads by itself. The module is searched where everything
    is installed, in the workspace, and in the current folder. Importing it runs its code.
    """

    params: CallableParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        assert isinstance(params, CallableParams)
        target = import_method(params.target, Path.cwd(), SCORER)
        super().__init__(target, f"'{params.target}'", shape=shape, classes=classes, params=params)
