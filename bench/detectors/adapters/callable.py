"""A function or module of one's own as a detector."""

import copy
from pathlib import Path

from torch import Tensor, nn

from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import DetectorParams
from bench.detectors.networks.base import FromPixels
from bench.methods import import_method
from bench.named_code import SCORER
from bench.specs import MethodPath


class CallableParams(DetectorParams):
    """Parameters of `CallableDetector`: the `target` as package.module:attribute."""

    target: MethodPath


class CallableDetector(OutputDetector):
    """What `target` names: a function, or an `nn.Module` that is made already.

    It takes (N, C, H, W) float images in [0, 1], on the device of the run, and returns (N,) scores, higher for
    in-distribution, or (N, K) logits; a module that has a method `score` is asked for that. A module is copied, put
    into evaluation mode and frozen. Its source enters the key of a cell, but not files that it reads by itself.

    The module is searched where everything is installed, in the workspace, and in the current folder. Importing it
    runs its code.
    """

    Params = CallableParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, CallableParams)
        target = import_method(params.target, Path.cwd(), SCORER)
        name = f"'{params.target}'"
        if isinstance(target, nn.Module):
            target = copy.deepcopy(target).eval().requires_grad_(False)
            self.wrap(_Score(target) if callable(getattr(target, "score", None)) else target, name)
        else:
            self.wrap(target, name)


class _Score(nn.Module):
    """A module that is called by its method `score`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.module.score(x)  # type: ignore[operator]
        return scores
