"""Weights in files: safetensors alone, written in one step, with a bound on their size."""

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from bench.errors import WeightsError

SIZE_LIMIT = 4 << 30
"""Bytes; larger files are refused unread."""


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Write named tensors as safetensors, all or nothing, and return the file's sha256.

    The same tensors give the same bytes. Folders are made as needed.

    Raises:
        WeightsError: The file cannot be written.
    """
    data = save_bytes({k: v.detach().cpu().contiguous().clone() for k, v in sorted(tensors.items())}, metadata)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(
            f"weights cannot be written to {path} ({error.strerror}); choose a folder with space that is writable."
        ) from error
    return hashlib.sha256(data).hexdigest()


def load_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file; nothing in it is ever executed.

    Args:
        path: The file.
        sha256: What the file's sha256 must be; None accepts any content.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        WeightsError: The file is absent, too large, not safetensors, or differs from its sha256.
    """
    try:
        if (size := path.stat().st_size) > SIZE_LIMIT:
            raise WeightsError(f"weights {path} have {size:,} bytes; allowed are {SIZE_LIMIT:,}: use a smaller file.")
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read ({error.strerror}); check the file.") from error
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise WeightsError(
            f"weights {path} have sha256 {found} and the card expects {sha256}; "
            "restore the file, or update the card if the weights were made anew on purpose."
        )
    try:
        return load_bytes(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise WeightsError(
            f"weights {path} are not a safetensors file ({_first_line(error)}); "
            "`bench convert` turns a published PyTorch checkpoint into one."
        ) from error


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights {path} cannot be read ({error.strerror}); check the file.") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
