"""From a resolved card to a detector that can score: method, network, parameters and weights."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.cards.catalog import Catalog
from bench.cards.code.methods import import_method, importable
from bench.cards.detector import DetectorSpec
from bench.cards.network import LayersSpec, NetworkSpec, is_named
from bench.cards.track import TrackCard
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import Detector, DetectorParams
from bench.detectors.boundary import admit
from bench.detectors.missing import missing_weights
from bench.detectors.networks.base import FromPixels, Network
from bench.detectors.networks.makers import make_named
from bench.detectors.networks.plain import PlainNetwork
from bench.detectors.wanted import DETECTOR, NETWORK
from bench.detectors.weights import check_state, load_tensors, without_cast_counters
from bench.errors import CardError, NotFittableError, UsageError

NETWORK_PREFIXES = ("network.network.", "network.network.module.")
"""Where a detector's state holds its network: one of the project's, or any module."""

_EXAMPLE = 3
"""So many made-up images are shown to a network of others when it is built."""


def load_detector(
    spec: DetectorSpec, track: TrackCard, catalog: Catalog, device: str = "cpu", *, check_weights: bool = True
) -> Detector:
    """A detector with its weights, frozen and in evaluation mode; behind the boundary where it runs code of others.

    All weights files of the card together make the state; where two hold a tensor of the same name, the later file's
    is taken.

    Args:
        spec: The card's settings for the track.
        track: The track's card.
        catalog: Where weights lie, and the workspace whose modules may be imported.
        device: Where to put it, e.g. "cpu" or "cuda".
        check_weights: Compare each file with the sha256 that the card declares.

    Raises:
        CardError: Method, network or parameters of the card cannot be used.
        WeightsError: A weights file is missing, differs from its sha256 or does not fit.
        UsageError: There is no such device, or the code of others cannot score images of the track.
    """
    detector = build_detector(spec, track, catalog)
    if spec.weights:
        own = detector.state_dict()
        state = _read_weights(spec, catalog, len(spec.weights), check_weights, own)
        expected = own
        if spec.fit_when_loaded:  # what it finds is in no file
            expected = {name: value for name, value in own.items() if name.startswith("network.") or name in state}
        check_state(expected, state, f"the weights of {_name(spec)}")
        detector.load_state_dict(own | state)
    if not detector.lent:
        detector.eval().requires_grad_(False)
    return admit(to_device(detector, device), f"detector '{spec.name}'", fitted=not spec.fit_when_loaded)


def load_for_training(spec: DetectorSpec, track: TrackCard, catalog: Catalog, device: str = "cpu") -> Detector:
    """A detector whose last weights file is still to be made: the earlier files of the card are loaded.

    Its own weights are as its network initialises them, from a fixed seed.

    Raises:
        CardError: Method, network or parameters of the card cannot be used.
        WeightsError: An earlier weights file is missing, differs from its sha256 or does not fit.
        UsageError: There is no such device.
    """
    detector = build_detector(spec, track, catalog)
    own = detector.state_dict()
    earlier = _read_weights(spec, catalog, len(spec.weights) - 1, True, own)
    check_state({k: v for k, v in own.items() if k in earlier}, earlier, f"the earlier weights of {_name(spec)}")
    detector.load_state_dict(own | earlier)
    return to_device(detector, device)


def last_weights(detector: Detector, spec: DetectorSpec, catalog: Catalog) -> dict[str, Tensor]:
    """The part of a trained detector's state that is for the last weights file: what earlier files do not hold.

    Raises:
        WeightsError: An earlier weights file is missing or cannot be read.
    """
    earlier = _read_weights(spec, catalog, len(spec.weights) - 1, True, detector.state_dict())
    return {key: value for key, value in detector.state_dict().items() if key not in earlier}


def build_detector(spec: DetectorSpec, track: TrackCard, catalog: Catalog) -> Detector:
    """A detector without its weights: initialised from a fixed seed, and the global generator left alone.

    Raises:
        CardError: Method, network or parameters of the card cannot be used.
    """
    method: type[Detector] = import_method(spec.method, catalog.workspace, DETECTOR)
    params = _checked_params(method, spec)
    if spec.network is not None and issubclass(method, OutputDetector):
        raise CardError(
            f"{_name(spec)} is asked as a program, with the track's images as they are: no network, crop or resize "
            "stands before it; leave `network` and `on_network` out, or write a network's card by `bench new network`."
        )
    with torch.random.fork_rng(devices=[]), importable(catalog.workspace):
        torch.manual_seed(0)
        network = _build_network(spec, spec.network, track, catalog) if spec.network is not None else None
        if network is not None:
            _check_outputs(network, method, spec, track)
        return method(network, shape=track.shape, classes=track.classes, params=params)


def to_device(detector: Detector, device: str) -> Detector:
    """The detector on a device.

    Raises:
        UsageError: There is no such device here.
    """
    try:
        return detector.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise UsageError(f"device '{device}' cannot be used ({reason}); 'cpu' always can.") from error


def score_on(module: nn.Module, spec: DetectorSpec, track: TrackCard, catalog: Catalog, device: str) -> Detector:
    """A score on a network that is made already: frozen, in evaluation mode, and on a copy of the module.

    Args:
        module: From (N, C, H, W) images in [0, 1] to (N, K) logits.
        spec: The score's settings; those of its network are not looked at.
        track: The track's card.
        catalog: The workspace whose modules may be imported.
        device: Where to put it.

    Raises:
        CardError: Method or parameters of the card cannot be used.
        UsageError: The module cannot take images of the track, or has another number of logits than it has classes.
    """
    method: type[Detector] = import_method(spec.method, catalog.workspace, DETECTOR)
    params = _checked_params(method, spec)
    with torch.random.fork_rng(devices=[]), importable(catalog.workspace):
        torch.manual_seed(0)
        own = copy.deepcopy(module).cpu()
        if not isinstance(own, Network):
            wanted = method.network_outputs(track.classes)
            own = PlainNetwork(own, torch.rand(_EXAMPLE, *track.shape), classes=wanted)
        network = FromPixels(own)
        _check_outputs(network, method, spec, track)
        detector = method(network, shape=track.shape, classes=track.classes, params=params)
    detector.eval().requires_grad_(False)
    return admit(to_device(detector, device), f"detector '{spec.name}'", fitted=not spec.fit_when_loaded)


def _read_weights(
    spec: DetectorSpec, catalog: Catalog, count: int, check: bool, own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The merged tensors of the first `count` weights files, under the names of the detector's own state."""
    state: dict[str, Tensor] = {}
    for weights in spec.weights[: max(count, 0)]:
        path = catalog.weights_path(weights.file)
        if path is None:
            raise missing_weights(weights, spec, catalog)
        tensors = load_tensors(path, weights.sha256 if check else None)
        if weights.network_only:
            tensors = {name: value for name, value in tensors.items() if name.startswith("network.")}
        state |= without_cast_counters(_named_as_own(tensors, own), own)
    return state


def _named_as_own(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file may hold a network's tensors under the network's own names, as its `state_dict` has them."""
    if any(name in own for name in tensors):
        return tensors
    fitting = [prefix for prefix in NETWORK_PREFIXES if any(prefix + name in own for name in tensors)]
    return {fitting[-1] + name: value for name, value in tensors.items()} if fitting else tensors


def _checked_params(method: type[Detector], spec: DetectorSpec) -> DetectorParams:
    try:
        return method.Params(**spec.params)
    except (ValidationError, TypeError) as error:
        if not isinstance(error, ValidationError):
            raise CardError(f"params of {_name(spec)} must be named by words; correct the card ({error}).") from error
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "params"
        allowed = ", ".join(sorted(method.Params.model_fields)) or "none"
        if first["type"] == "extra_forbidden":
            raise CardError(
                f"{_name(spec)} has no parameter '{field}'; allowed: {allowed}; correct the card."
            ) from error
        raise CardError(
            f"parameter '{field}' of {_name(spec)} is {str(first['input'])[:80]!r}: {first['msg']}; correct the card."
        ) from error


def _build_network(spec: DetectorSpec, settings: NetworkSpec, track: TrackCard, catalog: Catalog) -> FromPixels:
    """The network behind its steps from pixels."""
    _check_steps(spec, settings, track)
    made = _made_module(spec, settings, catalog)
    steps = {"crop": settings.crop, "resize": settings.resize, "mean": settings.mean, "std": settings.std}
    if isinstance(made, Network) and settings.layers is None:
        return FromPixels(made, **steps)  # type: ignore[arg-type]  # a mapping of unlike values

    with torch.random.fork_rng(devices=[]):
        example = FromPixels(_Nothing(), **steps).own_input(torch.rand(_EXAMPLE, *track.shape))  # type: ignore[arg-type]
    layers = settings.layers or LayersSpec()
    try:
        network = PlainNetwork(
            made,
            example,
            name=f"network '{settings.method}' of {_name(spec)}",
            penultimate=layers.penultimate,
            logits=layers.logits,
            layers=layers.hidden,
        )
    except UsageError as error:
        raise CardError(str(error)) from error
    return FromPixels(network, **steps)  # type: ignore[arg-type]


def _made_module(spec: DetectorSpec, settings: NetworkSpec, catalog: Catalog) -> nn.Module:
    """What the card's method makes, or the module that it names."""
    if is_named(settings.method):
        return make_named(settings.method, settings.args)
    make: Any = import_method(settings.method, catalog.workspace, NETWORK)
    if isinstance(make, nn.Module):
        if settings.args:
            raise CardError(
                f"network '{settings.method}' of {_name(spec)} is a module that is made already; it takes no args."
            )
        return copy.deepcopy(make)
    try:
        network = make(**settings.args)
    except Exception as error:  # code of others
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise CardError(
            f"network '{settings.method}' of {_name(spec)} cannot be made from its args ({reason}); correct the card."
        ) from error
    if not isinstance(network, nn.Module):
        raise CardError(
            f"network '{settings.method}' of {_name(spec)} makes a {type(network).__name__}; "
            "name something that makes an nn.Module."
        )
    return network


def _check_steps(spec: DetectorSpec, settings: NetworkSpec, track: TrackCard) -> None:
    channels, height, width = track.shape
    for name, values in (("mean", settings.mean), ("std", settings.std)):
        if values is not None and len(values) != channels:
            raise CardError(
                f"network.{name} of {_name(spec)} has {len(values)} numbers; give one for each of {channels} channels."
            )
    if settings.std is not None and not all(value > 0 for value in settings.std):
        raise CardError(f"network.std of {_name(spec)} is {settings.std}; every number must be above 0.")
    if settings.crop is not None and settings.crop > min(height, width):
        raise CardError(
            f"network.crop of {_name(spec)} is {settings.crop}; images are {height} x {width}: choose at most that."
        )


class _Nothing(Network):
    """A network that is never asked, behind which steps from pixels can be taken."""

    def activations(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


def _check_outputs(network: FromPixels, method: type[Detector], spec: DetectorSpec, track: TrackCard) -> None:
    """Raise unless the network takes the track's images and has as many outputs as the method needs."""
    network.eval()
    try:
        with torch.no_grad():
            given = network.activations(torch.zeros(1, *track.shape))["logits"].shape[1]
    except (RuntimeError, IndexError, KeyError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CardError(
            f"the network of {_name(spec)} cannot take images of shape {track.shape} ({reason}); "
            "correct its args or crop."
        ) from error
    if method.info.classifier and track.classes == 1:
        raise NotFittableError(
            f"{_name(spec)} needs a classifier of 2 classes or more, and the track has {track.classes}; choose a "
            "detector without a classifier."
        )
    wanted = method.network_outputs(track.classes)
    if wanted is not None and given != wanted:
        raise CardError(f"the network of {_name(spec)} has {given} logits and must have {wanted}; correct its args.")


def _name(spec: DetectorSpec) -> str:
    return f"detector '{spec.name}' on track '{spec.track}'"
