"""A score of the library pytorch-ood as a detector."""

import copy
import difflib
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.datasets.base import ImageSet, TrainingData
from bench.detectors.adapters.parts import Parts
from bench.detectors.adapters.uncut import Uncut, converted, rounded_away, why_not
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.fitting import Meter
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels
from bench.errors import CardError, InputError, UsageError, shorten
from bench.lazy import lazily

with lazily():
    import pytorch_ood
    from pytorch_ood import api
    from pytorch_ood import detector as library

_BATCH = 256
_TRIED = 16
"""Images on which a fitted detector is tried."""

_FOLLOWED = 3
"""Images of those at which its gradient is compared with central differences, and as many mixtures of them."""

_SAME = 1e-4
"""Relative difference of scores that float32 may make of the same sums in another order."""


class PytorchOODParams(DetectorParams):
    """Parameters of `PytorchOOD`.

    Attributes:
        detector: The name of a class in `pytorch_ood.detector`.
        args: Arguments of its constructor, over those that are supplied.
        limit: At most so many training images are seen by its fit; None shows it all of them.
        version: The version of the library that is needed; None takes any.
    """

    detector: str
    args: dict[str, Any] = Field(default={})
    limit: int | None = None
    version: str | None = None


class PytorchOOD(Detector):
    """Minus what a detector of pytorch-ood predicts for the outputs of the track's classifier.

    The library (Kirchheim, Filax and Ortmeier, 2022, "PyTorch-OOD: a library for out-of-distribution detection based on
    PyTorch") scores without a gradient in x and higher for out-of-distribution: here the sign is turned. It is built
    with the library's defaults; what its constructor asks for beside them is one of `Parts`, or given in `args`.

    Whether an attacker has its gradient is found out after the fit: the same code is run with nothing cut from the
    graph (see `Uncut`), and what comes out is compared with central differences on a few images. Where it agrees the
    detector is white-box, else a black box; `remarks` say which, and why.

    `fit` shows it the training images, in batches, in order. Where its score of an image depends on the others of the
    batch, which OpenMax's does (it knows the distances to those classes alone that are predicted in the batch), every
    image is scored alone. Random numbers come from one fixed seed in every call. The
    fitted state is not saved: the detector is fitted whenever it is loaded.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(components=("classifier",))
    params: PytorchOODParams
    foreign = True

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, PytorchOODParams)
        self._class = library_detector(params.detector, params.version)
        self._made: Any = None
        self._parts: Parts | None = None
        self._alone = False
        self._has_gradient(False)

    statistics_in_state: ClassVar[bool] = False

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Show it the training images, where it has a fit."""
        assert isinstance(self.params, PytorchOODParams)
        shown = data.train.limited(self.params.limit)
        batches = DataLoader(_Batches(shown, Meter(progress, len(shown))), batch_size=None)
        made = self._make()
        try:
            with self._as_the_library_needs_it():
                made.fit(batches)
        except Exception as error:  # whatever the library raises, its assertions too
            reason = " ".join(str(error).split())[:200] or "without a word"
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} cannot be fitted to {len(data.train)} images of {self.classes} "
                f"classes ({type(error).__name__}: {reason}); choose another detector."
            ) from error
        self._made = made
        images = data.calibration.limited(_TRIED).pixels().to(next(needed_network(self).parameters()).device)
        self._try(images)
        self._try_gradient(images[:_FOLLOWED])
        return self

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), with a gradient where that agrees with central differences.

        Raises:
            InputError: It has to be fitted first.
        """
        if self._made is None:
            if self._class.requires_fit:
                raise InputError(f"pytorch-ood's {self._class.__name__} must be fitted before it scores; call fit.")
            self._made = self._make()
        follows = self.info.differentiable and torch.is_grad_enabled() and x.requires_grad
        batches = torch.split(x, 1) if self._alone else (x,)
        return torch.cat([self._predict(batch, follows=follows) for batch in batches])

    def _predict(self, x: Tensor, *, follows: bool = False) -> Tensor:
        with self._as_the_library_needs_it(), Uncut() if follows else nullcontext():
            outliers: Tensor = self._made.predict(x.clone() if follows else x.detach().clone())
        if self._parts is not None:
            self._parts.forget()
        if outliers.shape != (len(x),):
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} gives shape {tuple(outliers.shape)} for {len(x)} images; "
                "choose a detector that gives one score an image."
            )
        return -(outliers if follows else outliers.detach()).to(x.device)

    def _try(self, images: Tensor) -> None:
        """Find out whether it tells images apart, and whether its score of an image depends on the others."""
        together = self._predict(images)
        if float(together.std()) <= _SAME * float(together.abs().max()):
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} gives every image the same score on this classifier; choose "
                "another detector, or give a card another network."
            )
        alone = torch.cat([self._predict(image[None]) for image in images])
        self._alone = not torch.allclose(alone, together, rtol=_SAME, atol=_SAME * float(together.std()))

    def _try_gradient(self, images: Tensor) -> None:
        """Find out whether an attacker has its gradient: in float64 where the library's code can be run in it."""
        self._has_gradient(True)
        why = self._fault_in_double(images)
        if why:
            why = why_not(self.score, images)
        name = f"pytorch-ood's {self._class.__name__}"
        self._has_gradient(not why)
        self.remarks = (
            (f"{name} is a black box to attacks: {why}.",)
            if why
            else (f"{name} is attacked white-box: its gradient agrees with central differences.",)
        )

    def _fault_in_double(self, images: Tensor) -> str:
        """Why not, of a copy in float64."""
        try:
            wide = copy.deepcopy(self).double()
            same = torch.allclose(wide._predict(images.double()).float(), self._predict(images), rtol=1e-3, atol=1e-3)
        except Exception:  # a part that holds a graph, or that is of float32 by its code
            return "there is no copy in float64"
        if not same:
            return "its scores are others in float64"
        return why_not(wide.score, images.double()) or rounded_away(self.score, wide.score, images)

    def _has_gradient(self, found: bool) -> None:
        self.info = replace(type(self).info, differentiable=found)  # type: ignore[misc]  # of this one: it is found out

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Also the library's own tensors change type and device."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it without types
        self._made = converted(self._made, fn, "pytorch_ood")
        return self

    def _make(self) -> Any:
        """The library's detector, from what its constructor asks for."""
        assert isinstance(self.params, PytorchOODParams)
        given, name = self.params.args, self._class.__name__
        wanted = inspect.signature(self._class).parameters
        if unknown := [argument for argument in given if argument not in wanted]:
            raise CardError(
                f"pytorch-ood's {name} has no argument '{unknown[0]}'; its arguments: {', '.join(wanted)}; "
                "correct the card."
            )
        chained, hooked = _is_structured(self._class), "layers" in wanted
        parts = self._parts = Parts(needed_network(self), self.classes, self.shape, chained=chained, hooked=hooked)
        arguments = dict(given)
        for argument, declared in wanted.items():
            if argument in given or declared.default is not declared.empty or declared.kind is declared.VAR_KEYWORD:
                continue
            part = "head_of_maps" if argument == "head" and "backbone" in wanted else argument
            if not hasattr(type(parts), part) and not hasattr(parts, part):
                raise UsageError(
                    f"pytorch-ood's {name} needs '{argument}', which a classifier alone does not have; give it under "
                    "params.args of a card, or choose another detector."
                )
            arguments[argument] = getattr(parts, part)
        return self._class(**arguments).to(next(needed_network(self).parameters()).device)

    @contextmanager
    def _as_the_library_needs_it(self) -> Iterator[None]:
        """With gradients, which some scores take, and with random numbers from a fixed seed; restored after."""
        takes_gradients = issubclass(self._class, api.GradientDetector)
        frozen = [p for p in self.parameters() if takes_gradients and not p.requires_grad]
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for parameter in frozen:
                parameter.requires_grad_(True)
            try:
                yield
            finally:
                for parameter in frozen:
                    parameter.requires_grad_(False).grad = None


def library_detector(name: str, version: str | None = None) -> Any:
    """The class of this name in `pytorch_ood.detector`.

    Raises:
        UsageError: The library or the detector is not there.
        CardError: The library has another version.
    """
    try:
        installed, offered = pytorch_ood.__version__, library.__all__
    except ImportError as error:
        raise UsageError(
            f"detector 'pytorch-ood:{name}' needs the library pytorch-ood ({error}); "
            "install it with `pip install 'robustood[adapters]'`."
        ) from error
    if version is not None and installed != version:
        raise CardError(f"pytorch-ood {version} is asked for and {installed} is installed; install the other one.")
    known = {
        each
        for each in offered
        if isinstance(found := getattr(library, each), type) and issubclass(found, api.Detector)
    }
    if name not in known:
        near = difflib.get_close_matches(name[:80], sorted(known), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}."
        raise UsageError(f"pytorch-ood has no detector {shorten(name)}; {hint}")
    return getattr(library, name)


def _is_structured(kind: Any) -> bool:
    return issubclass(kind, api.StructuredDetector)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """A set of images as ([0, 1] images, labels), a batch an item; the first pass is counted."""

    def __init__(self, images: ImageSet, meter: Meter) -> None:
        self.images, self.meter = images, meter

    def __len__(self) -> int:
        return math.ceil(len(self.images) / _BATCH)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        rows = slice(number * _BATCH, (number + 1) * _BATCH)
        if self.meter.done == rows.start:
            self.meter.add(min(_BATCH, len(self.images) - rows.start), "images shown to the library")
        return self.images.images[rows].float() / 255.0, self.images.labels[rows]
