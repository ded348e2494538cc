"""A program that `torch.export` or TorchScript wrote into a file, as a detector."""

import hashlib
import io
import logging
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from bench.cards.base import Sha256
from bench.cards.detector_names import SIZE_LIMIT
from bench.detectors.adapters.outputs import OutputDetector
from bench.detectors.base import DetectorParams
from bench.detectors.networks.base import FromPixels
from bench.errors import UsageError
from bench.places import expanded

_FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_OBJECTS = ("custom_obj_", "opaque_obj_")
"""Members of an archive that are pickled objects, not tensors."""


class ExportedParams(DetectorParams):
    """Parameters of `ExportedDetector`: the file's `path`, and the `sha256` that it must have."""

    path: str
    sha256: Sha256


class ExportedDetector(OutputDetector):
    """The program in a file: what `torch.export.save` wrote (.pt2), or else what `torch.jit.save` did.

    It takes (N, C, H, W) float32 images in [0, 1] and returns (N,) scores, higher for in-distribution, or (N, K)
    logits. An export must leave the number of images open (`torch.export.Dim`). TorchScript is deprecated in PyTorch
    2.9 and later: prefer `torch.export`.

    Such a file is a program, and loading and scoring run it: use only files that you trust. Objects that would be
    unpickled are refused.
    """

    params: ExportedParams

    def __init__(
        self, network: FromPixels | None, *, shape: tuple[int, int, int], classes: int, params: DetectorParams
    ) -> None:
        super().__init__(network, shape=shape, classes=classes, params=params)
        assert isinstance(params, ExportedParams)
        what = f"program '{params.path}'"
        self.wrap(Program(read_program(expanded(params.path, what), params.sha256)), what)


class Program(nn.Module):
    """A loaded program, in the mode in which it was exported: exports refuse to change it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        for parameter in module.parameters():  # scripted modules refuse to do so as a whole
            parameter.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """What the program returns."""
        output: Tensor = self.module(x)
        return output

    def train(self, mode: bool = True) -> Self:
        """Change nothing below."""
        self.training = mode
        return self


def read_program(file: Path, sha256: str) -> nn.Module:
    """Load the program in a file.

    Args:
        file: With the suffix .pt2 where `torch.export.save` wrote it.
        sha256: What the file's sha256 must be.

    Raises:
        UsageError: The file cannot be read, is too large or another, or holds no such program.
    """
    content = read_checked(file, sha256)
    exported = file.suffix == ".pt2"
    try:
        return _exported(content) if exported else _scripted(content)
    except UsageError:
        raise
    except Exception as error:  # damaged programs fail anywhere in torch
        wanted = "torch.export.save" if exported else "torch.jit.save (or, with the suffix .pt2, torch.export.save)"
        raise UsageError(
            f"'{file}' is not what {wanted} writes ({type(error).__name__}); "
            "export the model, or name it as callable:package.module:function."
        ) from error


def read_checked(file: Path, sha256: str) -> bytes:
    """The bytes of a program.

    Raises:
        UsageError: The file cannot be read, is too large, or is another.
    """
    try:
        if (size := file.stat().st_size) > SIZE_LIMIT:
            raise UsageError(f"program '{file}' has {size:,} bytes; allowed are {SIZE_LIMIT:,}.")
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"program '{file}' cannot be read ({error.strerror}); check the file.") from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise UsageError(f"program '{file}' has sha256 {found}, expected was {sha256}; leave it alone during a run.")
    return content


def _exported(content: bytes) -> nn.Module:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if objects := [name for name in archive.namelist() if name.rpartition("/")[2].startswith(_OBJECTS)]:
            raise UsageError(f"the program holds a pickled object ({objects[0]}); export a model of tensors alone.")
    with _weights_only(), _quiet():
        return torch.export.load(io.BytesIO(content)).module()


def _scripted(content: bytes) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated is said in the documentation
        module: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
        return module.eval()


@contextmanager
def _weights_only() -> Iterator[None]:
    """Let torch unpickle nothing but tensors meanwhile, also where it would."""
    before = os.environ.get(_FORCE_WEIGHTS_ONLY)
    os.environ[_FORCE_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE_WEIGHTS_ONLY]
        else:
            os.environ[_FORCE_WEIGHTS_ONLY] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks that torch logs of a file that it cannot read: a sentence follows."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
