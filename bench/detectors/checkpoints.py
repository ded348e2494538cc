"""Published checkpoints: read without running code, and every state that lies in one, however it is wrapped."""

import argparse
import importlib
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.detectors.weights import SIZE_LIMIT, load_tensors
from bench.errors import WeightsError

_DEEPEST = 4
_MOST = 1000
"""Containers are searched so deep, and so many of them: optimisers keep thousands of small ones."""

_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of names that PyTorch puts between the network's own when it compiles or shards a module."""


@dataclass(frozen=True)
class State:
    """Tensors by name, and where in the checkpoint they lie.

    Attributes:
        key: The containers' keys with points between them; empty for the checkpoint itself.
        tensors: By name.
    """

    key: str
    tensors: dict[str, Tensor]

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        return f"below '{self.key}'" if self.key else "at the top"


def read_checkpoint(file: Path) -> list[State]:
    """Every mapping of names to tensors in a checkpoint, the outermost first.

    Args:
        file: What `torch.load(..., weights_only=True)` reads, with NumPy's numbers and arrays and `argparse`'s options
            allowed beside the weights; or safetensors, told by their content.

    Raises:
        WeightsError: The file cannot be read without running code that is in it, or holds no state.
    """
    found = list(_states(load_tensors(file) if _is_safetensors(file) else _load_safely(file)))
    if not found:
        raise WeightsError(f"checkpoint {file} holds no state_dict of tensors; give one saved from model.state_dict().")
    return found


def _states(content: Any) -> Iterator[State]:
    """Breadth first; a mapping counts with its tensors alone, whatever lies beside them; a list by its positions."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for _ in range(_MOST):
        if not waiting:
            return
        keys, here = waiting.pop(0)
        if isinstance(here, list):  # of a cascade of networks, for one
            here = {str(place): value for place, value in enumerate(here[:_MOST])}
        if not isinstance(here, Mapping):
            continue
        named = {name: value for name, value in here.items() if isinstance(name, str)}
        tensors = {_unwrapped(name): value for name, value in named.items() if isinstance(value, Tensor)}
        if tensors:
            yield State(".".join(map(_shown, keys)), tensors)
        if len(keys) < _DEEPEST:
            waiting += [((*keys, name), value) for name, value in named.items() if isinstance(value, Mapping | list)]


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _shown(key: str) -> str:
    return re.sub(r"[^\w-]", "?", key[:40])


def _is_safetensors(file: Path) -> bool:
    """Eight bytes of a length, and a header in JSON; a suffix says little."""
    if file.suffix == ".safetensors":
        return True
    try:
        with file.open("rb") as opened:
            return opened.read(9)[8:] == b"{"
    except OSError:
        return False  # reading it will say why


def _load_safely(file: Path) -> Any:
    try:
        size = file.stat().st_size
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                size = max(size, sum(entry.file_size for entry in archive.infolist()))
            if names and all(name.endswith(".npy") for name in names):
                raise WeightsError(f"checkpoint {file} is an npz of NumPy arrays; give a state_dict saved by PyTorch.")
        if size > SIZE_LIMIT:
            raise WeightsError(f"checkpoint {file} has {size:,} bytes; allowed are {SIZE_LIMIT:,}: use a smaller one.")
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # of how it was pickled: what is read is checked afterwards
            return torch.load(file, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise WeightsError(f"checkpoint {file} cannot be read ({why}); check the file.") from error
    except Exception as error:  # a damaged pickle raises whatever its own operations raise
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it names {named[1][:80]}" if named else type(error).__name__
        raise WeightsError(
            f"checkpoint {file} cannot be read as weights alone ({why}); "
            "it is damaged, or would run code: ask its authors for a plain state_dict."
        ) from error


def _harmless() -> list[Any]:
    """What training scripts keep beside the weights, and what does nothing but hold values."""
    multiarray = importlib.import_module("numpy._core.multiarray")  # as pickles name it
    kinds = [getattr(np.dtypes, name) for name in np.dtypes.__all__ if name not in ("ObjectDType", "VoidDType")]
    return [
        argparse.Namespace, np.dtype, np.ndarray, *kinds,
        multiarray.scalar, (multiarray.scalar, "numpy.core.multiarray.scalar"),
        multiarray._reconstruct, (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    ]  # fmt: skip
