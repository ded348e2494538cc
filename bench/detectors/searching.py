"""A copy of a detector for the first half of an attack's steps: fused, and in arithmetic that its device is fast in.

Forms are tried in a fixed order, never by the clock, so that two processes choose the same. The first one is taken
whose scores and gradients agree with the detector's on calibration images; nothing that a copy says is reported.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.detectors.base import Detector
from bench.detectors.networks.base import FromPixels
from bench.detectors.precision import Precision, SearchPrecision
from bench.detectors.untouched import untouched

IMAGES = 32
"""So many calibration images are compared."""

LEAST_COSINE = 0.95
"""Between the gradients of an image, in the median; measured on a ResNet-20 in bf16: 0.97 to 0.99."""

MOST_ERROR = 0.25
"""Of a score, as a share of the interquartile range of the scores; measured in bf16: 0.07."""

LEAST_RANKS = 0.95
"""Correlation of the scores' ranks."""


@dataclass(frozen=True)
class Form:
    """How a copy computes.

    Attributes:
        precision: Of convolutions and products of matrices.
        compiled: Whether the network is compiled.
    """

    precision: Precision
    compiled: bool = False

    def __str__(self) -> str:
        """Its parts, as a cell's note names them."""
        parts = ["batch norm folded", "channels last", self.precision.value, *(["compiled"] if self.compiled else [])]
        return ", ".join(parts)


@dataclass(frozen=True)
class Copy:
    """A copy to search with.

    Attributes:
        detector: The copy.
        said: The sentence about it, for the cell.
        form: How it computes.
    """

    detector: Detector
    said: str
    form: Form

    @contextmanager
    def running(self) -> Iterator[None]:
        """The device's settings while the copy is asked, its gradients included."""
        with ExitStack() as stack:
            if self.form.precision is Precision.TF32:
                flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True)
                stack.enter_context(flags)
            yield


@dataclass(frozen=True)
class NoCopy:
    """Why there is no copy."""

    said: str


def search_copy(detector: Detector, images: Tensor, search_precision: SearchPrecision) -> Copy | NoCopy:
    """The fastest form that agrees with the detector, or the sentence that says why none is taken.

    Args:
        detector: Frozen, in evaluation mode.
        images: (N, C, H, W) in [0, 1] on its device: a whole batch of the attack's shape, calibration images first.
        search_precision: What is asked for.
    """
    if detector.network is None or detector.info.random or not detector.info.differentiable:
        return NoCopy("all steps asked the detector itself: a copy needs a network and a score with a gradient.")
    refused: list[str] = []
    with untouched(detector):
        exact = _answers(detector, images)
        for form in forms(search_precision, images.device):
            try:
                made = Copy(_made(detector, images, form), "", form)
                with made.running():
                    found = _compared(exact, _answers(made.detector, images))
            except Exception as error:  # whatever the network's own code makes of it: it is searched without
                refused.append(f"{form}: {' '.join(str(error).split())[:100] or type(error).__name__}")
                continue
            if found.agrees:
                said = f"the first half of the steps asked a copy of the detector ({form}): {found}."
                return Copy(made.detector, said, form)
            refused.append(f"{form}: {found}")
    return NoCopy(f"all steps asked the detector itself, since no faster copy agrees with it ({'; '.join(refused)}).")


def forms(search_precision: SearchPrecision, device: torch.device) -> Sequence[Form]:
    """What is tried, in order: a function of what is asked for and of what the device declares."""
    if search_precision.precision is not Precision.AUTO:
        return (Form(search_precision.precision, search_precision.compiled),)
    fast = [Precision.BF16] if has_bf16(device) else []
    fast += [Precision.TF32] if device.type == "cuda" else []
    return tuple(Form(precision, search_precision.compiled) for precision in (*fast, Precision.FLOAT32))


def has_bf16(device: torch.device) -> bool:
    """Whether a device declares instructions for bf16; elsewhere it would be emulated, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    declares: Sequence[Callable[[], bool]] = [
        getattr(torch.cpu, name, bool) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    return device.type == "cpu" and any(asked() for asked in declares)


def _made(detector: Detector, images: Tensor, form: Form) -> Detector:
    made = copy.deepcopy(detector).eval().requires_grad_(False)
    network = made.network
    assert network is not None
    folded(network, images[:2])
    inner = network.network
    if images.shape[1] > 1:  # of one channel both layouts are the same
        inner.to(memory_format=torch.channels_last)
    for name in ("activations", "forward"):
        function = getattr(inner, name)
        if form.precision is Precision.BF16:
            function = _in_bf16(function, images.device.type)
        if form.compiled:
            mode = "reduce-overhead" if images.device.type == "cuda" else "default"
            function = torch.compile(function, mode=mode, dynamic=False)
        setattr(inner, name, function)
    return made


def _in_bf16(function: Callable[[Tensor], Any], device: str) -> Callable[[Tensor], Any]:
    """The same with products in bf16, and answers in float32."""

    def cast(x: Tensor) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            found = function(x)
        return {name: part.float() for name, part in found.items()} if isinstance(found, dict) else found.float()

    return cast


def folded(network: FromPixels, images: Tensor) -> int:
    """Multiply batch norms into the convolutions right before them, in place, where nothing else sees what those give.

    Args:
        network: In evaluation mode.
        images: A few, on which every activation must stay what it is.

    Returns:
        How many.
    """
    wanted, count = _activations(network, images), 0
    for convolution, norm in _followed(network, images):
        first, second = network.get_submodule(convolution), network.get_submodule(norm)
        assert isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
        network.set_submodule(convolution, fuse_conv_bn_eval(first, second).requires_grad_(False))
        network.set_submodule(norm, nn.Identity())
        if all(_close(*both) for both in zip(wanted, _activations(network, images), strict=True)):
            count += 1
        else:  # a shortcut, or an activation that a score asks for, takes the convolution's own output
            network.set_submodule(convolution, first)
            network.set_submodule(norm, second)
    return count


def _followed(network: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that take what they give; each called once a pass."""
    made_by: dict[int, str] = {}
    kept: list[Tensor] = []  # as long as the pass lasts no other tensor gets the number of one of these
    calls: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            calls[name] += 1
            if type(module) is nn.BatchNorm2d:
                pairs.extend((made_by[id(taken)], name) for taken in given if id(taken) in made_by)
            if type(module) is nn.Conv2d:
                made_by[id(made)] = name
                kept.append(made)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in network.named_modules()]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if all(calls[name] == 1 for name in pair)]


def _activations(network: FromPixels, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return list(network.activations(images).values())


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether they differ by roundings alone."""
    return bool((one - other).abs().max() <= 1e-3 * one.abs().max())


def _answers(detector: Detector, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) scores and (N, pixels) gradients of the objective, of the images that are compared."""
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_(True)
        score, objective = detector.score_and_objective(leaf)
        (gradient,) = torch.autograd.grad(objective.sum(), leaf)
    return score.detach().double()[:IMAGES], gradient.flatten(1).double()[:IMAGES]


@dataclass(frozen=True)
class _Agreement:
    error: float
    ranks: float
    cosine: float

    @property
    def agrees(self) -> bool:
        return self.error <= MOST_ERROR and self.ranks >= LEAST_RANKS and self.cosine >= LEAST_COSINE

    def __str__(self) -> str:
        return (
            f"on calibration images scores differ by up to {self.error:.2g} of their interquartile range, their ranks "
            f"correlate by {self.ranks:.3f}, and gradients have a cosine of {self.cosine:.3f}"
        )


def _compared(exact: tuple[Tensor, Tensor], found: tuple[Tensor, Tensor]) -> _Agreement:
    (scores, gradients), (others, slopes) = exact, found
    spread = float(scores.quantile(0.75) - scores.quantile(0.25)) or float(scores.max() - scores.min())
    error = float((others - scores).abs().max()) / spread if spread > 0 else torch.inf
    ranks = torch.stack([values.argsort().argsort().double() for values in (scores, others)])
    cosine = nn.functional.cosine_similarity(gradients, slopes).median()
    # Not finite anywhere is agreement nowhere, since no comparison holds.
    return _Agreement(error, float(torch.corrcoef(ranks)[0, 1]), float(cosine))
