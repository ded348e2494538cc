"""A score of the library pytorch-ood as a detector."""

import difflib
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.datasets.base import ImageSet, TrainingData
from bench.detectors.adapters.parts import Parts
from bench.detectors.base import Detector, DetectorInfo, DetectorParams, NoiseSource, Progress, silent
from bench.detectors.logit import needed_network
from bench.detectors.networks.base import FromPixels
from bench.errors import CardError, InputError, UsageError, shorten

_BATCH = 256
_TRIED = 16
"""Images on which a fitted detector is tried."""

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
    PyTorch") scores without a gradient in x and higher for out-of-distribution: here the sign is turned, and the
    detector is a black box to an attacker. It is built with the library's defaults; what its constructor asks for
    beside them is one of `Parts`, or given in `args`.

    `fit` shows it the training images, in batches, in order. Where its score of an image depends on the others of the
    batch, which OpenMax's does (it knows the distances to those classes alone that are predicted in the batch), every
    image is scored alone. Random numbers come from one fixed seed in every call. The
    fitted state is not saved: the detector is fitted whenever it is loaded.
    """

    info: ClassVar[DetectorInfo] = DetectorInfo(differentiable=False, components=("classifier",))
    Params = PytorchOODParams
    foreign = True

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, PytorchOODParams)
        self._class = library_detector(params.detector, params.version)
        self._made: Any = None
        self._alone = False

    statistics_in_state: ClassVar[bool] = False

    def fit(self, data: TrainingData, *, progress: Progress = silent) -> Self:
        """Show it the training images, where it has a fit."""
        assert isinstance(self.params, PytorchOODParams)
        images = DataLoader(_Batches(data.train.limited(self.params.limit)), batch_size=None)
        made = self._make()
        try:
            with self._as_the_library_needs_it():
                made.fit(images)
        except Exception as error:  # whatever the library raises, its assertions too
            reason = " ".join(str(error).split())[:200] or "without a word"
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} cannot be fitted to {len(data.train)} images of {self.classes} "
                f"classes ({type(error).__name__}: {reason}); choose another detector."
            ) from error
        self._made = made
        self._try(data.calibration.limited(_TRIED).pixels())
        return self

    def score(self, x: Tensor, *, noise: NoiseSource | None = None) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N,), without a gradient.

        Raises:
            InputError: It has to be fitted first.
        """
        if self._made is None:
            if self._class.requires_fit:
                raise InputError(f"pytorch-ood's {self._class.__name__} must be fitted before it scores; call fit.")
            self._made = self._make()
        if self._alone:
            return torch.cat([self._predict(image[None]) for image in x])
        return self._predict(x)

    def _predict(self, x: Tensor) -> Tensor:
        with self._as_the_library_needs_it():
            outliers: Tensor = self._made.predict(x.detach().clone())
        if outliers.shape != (len(x),):
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} gives shape {tuple(outliers.shape)} for {len(x)} images; "
                "choose a detector that gives one score an image."
            )
        return -outliers.detach().to(x.device)

    def _try(self, images: Tensor) -> None:
        """Find out whether it tells images apart, and whether its score of an image depends on the others."""
        images = images.to(next(needed_network(self).parameters()).device)
        together = self._predict(images)
        if float(together.std()) <= _SAME * float(together.abs().max()):
            raise UsageError(
                f"pytorch-ood's {self._class.__name__} gives every image the same score on this classifier; choose "
                "another detector, or give a card another network."
            )
        alone = torch.cat([self._predict(image[None]) for image in images])
        self._alone = not torch.allclose(alone, together, rtol=_SAME, atol=_SAME * float(together.std()))

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
        parts = Parts(needed_network(self), self.classes, self.shape, chained=chained, hooked=hooked)
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
        from pytorch_ood.api import GradientDetector

        takes_gradients = issubclass(self._class, GradientDetector)
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
        import pytorch_ood
        import pytorch_ood.api
        import pytorch_ood.detector as library
    except ImportError as error:
        raise UsageError(
            f"detector 'pytorch-ood:{name}' needs the library pytorch-ood ({error}); "
            "install it with `pip install 'robustood[adapters]'`."
        ) from error
    if version is not None and pytorch_ood.__version__ != version:
        raise CardError(
            f"pytorch-ood {version} is asked for and {pytorch_ood.__version__} is installed; install the other one."
        )
    known = {
        each for each in library.__all__
        if isinstance(found := getattr(library, each), type) and issubclass(found, pytorch_ood.api.Detector)
    }  # fmt: skip
    if name not in known:
        near = difflib.get_close_matches(name[:80], sorted(known), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}."
        raise UsageError(f"pytorch-ood has no detector {shorten(name)}; {hint}")
    return getattr(library, name)


def _is_structured(kind: Any) -> bool:
    from pytorch_ood.api import StructuredDetector

    return issubclass(kind, StructuredDetector)


class _Batches(Dataset[tuple[Tensor, Tensor]]):
    """A set of images as ([0, 1] images, labels), a batch an item."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return math.ceil(len(self.images) / _BATCH)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        rows = slice(number * _BATCH, (number + 1) * _BATCH)
        return self.images.images[rows].float() / 255.0, self.images.labels[rows]
