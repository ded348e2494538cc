"""A network of somebody's own: looked at once; its layers and input go into a card, its weights into a file."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from bench.cards.catalog import Catalog, Kind
from bench.cards.code.methods import import_method, importable
from bench.cards.detector_names import program_digest
from bench.cards.network import is_named
from bench.cards.track import TrackCard
from bench.detectors.adapters.reading import read_output
from bench.detectors.checkpoints import read_checkpoint
from bench.detectors.convert import fitted_state
from bench.detectors.networks.base import FromPixels, Network
from bench.detectors.networks.makers import make_named
from bench.detectors.networks.plain import PlainNetwork, found_parts
from bench.detectors.wanted import NETWORK
from bench.detectors.weights import save_tensors
from bench.errors import BenchError, UsageError
from bench.scaffolds.writing import card_path, put

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLASS_ARGUMENTS = ("num_classes", "classes", "n_classes", "outputs")
_SIZES = (224, 256, 299, 32, 64, 96, 128, 160, 192, 288, 384, 28)
"""Sides that are tried where a network cannot take the track's images, in this order."""


@dataclass(frozen=True)
class Look:
    """What was seen of a network.

    Attributes:
        args: What its method is called with.
        resize: The side that images have to be brought to; None where the track's own does.
        mean: Of each channel.
        std: Of each channel.
        parts: What gives its activations, for people.
        network: Behind its steps from pixels.
        told: Sentences about what was assumed.
    """

    args: dict[str, Any]
    resize: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    parts: dict[str, str]
    network: FromPixels
    told: tuple[str, ...]


def new_network(
    catalog: Catalog,
    name: str,
    method: str,
    track: TrackCard,
    *,
    weights: Path | None,
    key: str | None = None,
    args: dict[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    size: int | None = None,
    replace: bool = False,
) -> tuple[Path, Look]:
    """Write the card of a network and its weights.

    Args:
        catalog: Of the workspace.
        name: Of the network.
        method: `my_module:build`, `my_module:made_already`, `torchvision:NAME`, `timm:NAME`, `hf:NAME` or `file:PATH`.
        track: What it classifies.
        weights: A checkpoint of it; None keeps the weights that it has when it is made.
        key: Below which key of the checkpoint they lie, where several fit.
        args: Arguments of the method; the number of classes is added where one of the usual names takes it.
        mean: Subtracted from each channel; None takes what is known of the method.
        std: Divided by; likewise.
        size: The side that images are brought to; None finds it.
        replace: Write over a network of the workspace that has this name.

    Returns:
        The card's file, and what was seen.

    Raises:
        UsageError: There is such a network that stays, or it cannot be made, cannot take such images, or has other
            outputs than the track has classes.
        WeightsError: The checkpoint cannot be read or does not fit.
    """
    path = card_path(catalog, Kind.NETWORK, name, replace=replace)
    known = dict(args or {})
    torch.manual_seed(0)
    module, known = _made(catalog, method, known, track.classes)
    if weights is None and is_named(method) and not method.startswith("file:"):
        raise UsageError(f"'{method}' is made without weights; name a checkpoint of yours by --weights FILE.")
    if weights is not None:
        module.load_state_dict(fitted_state(_states(weights, key), module, f"the weights in {weights}"))
    look = _looked_at(module, method, known, track, mean, std, size, name)
    file = f"{name}.safetensors"
    state = {each: value for each, value in module.state_dict().items() if isinstance(value, Tensor)}
    sha256 = save_tensors(catalog.weights_dir_for_writing() / file, state) if state else None
    put(path, _text(name, method, track, look, file if state else None, sha256))
    return path, look


def adopt(catalog: Catalog, track: str, network: str, *, replace: bool = False) -> tuple[Path | None, str]:
    """Make a network the own one of a track of the workspace that has none, or of any by `replace`.

    Returns:
        The track's card where it was written, and a sentence that says on which network plain scores stand.
    """
    path, own = catalog.where(Kind.TRACK, track), catalog.track(track).network
    assert catalog.workspace is not None
    lines = path.read_text().splitlines()
    named = [number for number, line in enumerate(lines) if line.startswith("network:")]
    writable = path.is_relative_to(catalog.workspace) and (own is None or len(named) == 1)
    if own == network or not writable or not (own is None or replace):
        return None, _stands(track, own, network, writable)
    kept = [line for n, line in enumerate(lines) if n not in named and not line.startswith("# network: NAME")]
    put(path, "\n".join([*kept, f"network: {network}  # on which scores stand where none is named", ""]))
    return path, _stands(track, network, network, writable)


def _stands(track: str, own: str | None, network: str, writable: bool) -> str:
    if own == network:
        return f"on track '{track}' a score such as knn stands on '{network}' where no network is named."
    plain = f"stands on '{own}'" if own is not None else "has no network to stand on"
    change = ", or make it the track's own by --replace" if writable else ""
    return f"on track '{track}' a score such as knn {plain}; name the new one by `knn@{network}`{change}."


def _states(weights: Path, key: str | None) -> list[Any]:
    states = read_checkpoint(weights)
    if key is None:
        return states
    found = [state for state in states if state.key == key]
    if not found:
        known = ", ".join(state.key for state in states[:10] if state.key) or "none"
        raise UsageError(f"checkpoint {weights} holds no tensors below the key '{key}'; its keys with some: {known}.")
    return found


def _made(catalog: Catalog, method: str, args: dict[str, Any], classes: int) -> tuple[nn.Module, dict[str, Any]]:
    """The module, and the arguments that made it."""
    if is_named(method):
        if method.startswith("file:"):
            args = {"sha256": program_digest(method.partition(":")[2]), **args}
        elif method.startswith(("torchvision:", "timm:")):
            args = {"num_classes": classes, **args}
        return make_named(method, args), args
    make: Any = import_method(method, catalog.workspace, NETWORK)
    if isinstance(make, nn.Module):
        return make, args
    parameters = inspect.signature(make).parameters
    for name in _CLASS_ARGUMENTS:
        if name in parameters and name not in args:
            args = {name: classes, **args}
            break
    try:
        with importable(catalog.workspace):
            made = make(**args)
    except Exception as error:  # code of others
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(f"'{method}' makes no network ({reason}); give its arguments by --arg NAME=VALUE.") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"'{method}' makes a {type(made).__name__}; name something that makes an nn.Module.")
    return made, args


def _looked_at(
    module: nn.Module,
    method: str,
    args: dict[str, Any],
    track: TrackCard,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    size: int | None,
    name: str,
) -> Look:
    told: list[str] = []
    channels = track.shape[0]
    for option, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise UsageError(
                f"--{option} has {len(values)} numbers, and images of track '{track.name}' have {channels} channels; "
                "give one number a channel."
            )
    usual = _usual_input(module, method)
    if mean is not None or std is not None:
        pass
    elif usual is None:
        told.append(
            "no mean and std are set: images go in as they are, in [0, 1]; set them where yours were trained so."
        )
    elif len(usual[0]) != channels:
        told.append(f"the library's mean is of {len(usual[0])} channels and the track has {channels}: none is set.")
    else:
        mean, std = usual
        told.append("mean and std are those usual for this library; correct them where yours was trained with others.")
    wanted = _wanted_size(module)
    own = track.shape[1]
    sizes: list[int | None] = [size] if size is not None else [None, *([wanted] if wanted else []), *_SIZES]
    if size is None and wanted is not None and wanted != own:
        sizes.remove(wanted)
        sizes.insert(0, wanted)
    first: BenchError | None = None
    for resize in sizes:
        try:
            network = _behind(module, name, track, resize, mean, std)
        except UsageError as error:
            first = first or error
            if "cannot take images" not in str(error):
                break
            continue
        if resize is not None and resize != own:
            told.append(
                f"images of {own} pixels are brought to {resize}, differentiably; budgets are of the track's own."
            )
        inside = network.network
        parts = dict(found_parts(inside)) if isinstance(inside, PlainNetwork) else {"layers": ", ".join(inside.layers)}
        return Look(args, resize, mean, std, parts, network, tuple(told))
    assert first is not None
    raise first


def _behind(
    module: nn.Module,
    name: str,
    track: TrackCard,
    resize: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> FromPixels:
    steps: dict[str, Any] = {"resize": resize, "mean": mean, "std": std}
    example = FromPixels(_Same(), **steps).own_input(torch.rand(3, *track.shape))
    if isinstance(module, Network):
        return FromPixels(module, **steps)
    return FromPixels(PlainNetwork(module, example, classes=track.classes, name=f"network '{name}'"), **steps)


class _Same(Network):
    def activations(self, x: Tensor) -> dict[str, Tensor]:
        """Nothing asks for them."""
        return {"logits": x}


def _usual_input(module: nn.Module, method: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and std as a library says or has them."""
    config = getattr(module, "pretrained_cfg", None)
    if isinstance(config, dict) and config.get("mean") and config.get("std"):
        return tuple(map(float, config["mean"])), tuple(map(float, config["std"]))
    if method.startswith("torchvision:"):
        return IMAGENET
    return ((0.5,) * 3, (0.5,) * 3) if method.startswith("hf:") else None


def _wanted_size(module: nn.Module) -> int | None:
    """The side that a module says it was made for."""
    config = getattr(module, "pretrained_cfg", None)
    if isinstance(config, dict) and config.get("fixed_input_size"):
        return int(config["input_size"][-1])
    size = getattr(getattr(module, "config", None), "image_size", None) or getattr(module, "image_size", None)
    return int(size) if isinstance(size, int) else None


def _text(name: str, method: str, track: TrackCard, look: Look, file: str | None, sha256: str | None) -> str:
    def flow(value: Any) -> str:
        return (
            yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip().removesuffix("\n...")
        )

    lines = [
        f"name: {name}",
        f"summary: The network {flow(method)} for {track.name}.  # say how it was trained".replace("'", ""),
        f"track: {track.name}",
        f"method: {flow(method)}",
    ]
    if look.args:
        lines.append(f"args: {flow(look.args)}")
    if look.resize is not None:
        lines.append(f"resize: {look.resize}  # the side that images are brought to; an attack goes through it")
    for field, values in (("mean", look.mean), ("std", look.std)):
        lines.append(f"{field}: {flow(list(values))}" if values is not None else f"# {field}: one number a channel")
    found = "; ".join(f"{part}: {what}" for part, what in look.parts.items())
    lines.append(f"# Found in it: {found}.")
    lines.append("# layers: {penultimate: NAME, logits: NAME or output, hidden: [NAME, ...]}  # to name others")
    if file is not None:
        lines += ["weights:", f"  - file: {file}", f"    sha256: {sha256}"]
    return "\n".join(lines) + "\n"


def quick_accuracy(network: FromPixels, images: Tensor, labels: Tensor) -> float | None:
    """Share of labelled images that are classified correctly; None without labels."""
    known = labels >= 0
    if not bool(known.any()):
        return None
    with torch.no_grad():
        logits = read_output(network(images[known]), images[known], classes=0, name="the network")
    return float((logits.argmax(1) == labels[known]).float().mean())
