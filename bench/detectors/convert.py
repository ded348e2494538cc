"""From a published PyTorch checkpoint to safetensors, without ever unpickling code."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.catalog import Catalog
from bench.detectors.loading import build_detector
from bench.detectors.weights import SIZE_LIMIT, check_state, load_tensors, save_tensors
from bench.errors import UsageError, WeightsError
from bench.specs import DetectorSpec, TrackCard

PREFIX = "network.network."
"""Where a detector's state holds its network."""


def convert_checkpoint(
    file: Path, spec: DetectorSpec, track: TrackCard, catalog: Catalog, *, out: Path | None = None
) -> tuple[Path, str]:
    """Write the network of a published checkpoint as a weights file of a detector.

    A state below the key "state_dict" is found, the prefix "module." of parallel training is taken off, and the
    batch counters that old checkpoints lack are added; everything else must fit the card's network exactly.

    Args:
        file: The checkpoint: what `torch.load(..., weights_only=True)` reads, or safetensors.
        spec: The detector whose network it is for.
        track: The track's card.
        catalog: Where weights go.
        out: The file to write; None for the card's first weights file, which must then have the card's sha256.

    Returns:
        The written file and its sha256.

    Raises:
        WeightsError: The checkpoint cannot be read, does not fit, or is another than the card's.
        UsageError: The card has no network or names no weights file.
    """
    detector = build_detector(spec, track, catalog)
    if detector.network is None:
        raise UsageError(f"detector '{spec.name}' has no network on track '{spec.track}'; there is nothing to convert.")
    if out is None and not spec.weights:
        raise UsageError(f"detector '{spec.name}' names no weights for track '{spec.track}'; add them, or give --out.")
    state = fitted_state(read_checkpoint(file), detector.network.network, f"the weights in {file}")
    tensors = {PREFIX + name: value for name, value in state.items()}
    if out is not None:
        return out, save_tensors(out, tensors)
    wanted = spec.weights[0]
    target = catalog.weights_dir_for_writing() / wanted.file
    return target, save_tensors(target, tensors, expected_sha256=wanted.sha256)


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without a "module." that all of them begin with.

    Raises:
        WeightsError: The file cannot be read without running code that is in it, or holds no state.
    """
    if file.suffix == ".safetensors":
        found: Any = load_tensors(file)
    else:
        found = _load_safely(file)
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"checkpoint {file} holds no state_dict of tensors; give one saved from model.state_dict().")
    state = {str(name): value for name, value in found.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def fitted_state(state: Mapping[str, Tensor], network: nn.Module, what: str) -> dict[str, Tensor]:
    """The state in the network's own types and order.

    Raises:
        WeightsError: It does not fit the network exactly.
    """
    expected = network.state_dict()
    # Checkpoints from before PyTorch 0.4.1 lack these counters, which do not enter evaluation.
    counters = {name: value for name, value in expected.items() if name.endswith(".num_batches_tracked")}
    complete = {**counters, **state}
    check_state(expected, complete, what)
    return {name: complete[name].to(value.dtype) for name, value in expected.items()}


def _load_safely(file: Path) -> Any:
    try:
        if (size := file.stat().st_size) > SIZE_LIMIT:
            raise WeightsError(f"checkpoint {file} has {size:,} bytes; allowed are {SIZE_LIMIT:,}: use a smaller one.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of how it was pickled: what is read is checked afterwards
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"checkpoint {file} cannot be read ({error.strerror}); check the file.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"checkpoint {file} cannot be read as weights alone ({type(error).__name__}); "
            "it is damaged, or would run code: ask its authors for a plain state_dict."
        ) from error
