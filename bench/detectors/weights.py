"""Weights in files: safetensors alone, written in one step, with a bound on their size."""

import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from bench.errors import WeightsError
from bench.files import write_file
from bench.tensor_files import check_header

SIZE_LIMIT = 4 << 30
"""Bytes; larger files are refused unread."""

COUNTER = ".num_batches_tracked"
"""How the names of batch norm's counters end."""

NAMES_SHOWN = 3
"""How many tensor names an error lists."""


def save_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str] | None = None,
    *,
    expected_sha256: str | None = None,
) -> str:
    """Write named tensors as safetensors, all or nothing, and return the file's sha256.

    The same tensors give the same bytes. Folders are made as needed.

    Args:
        path: The file; one that is there is replaced.
        tensors: The tensors by name, on any device.
        metadata: Texts for the file's header.
        expected_sha256: What the file's sha256 must become; None accepts any.

    Raises:
        WeightsError: The file cannot be written, or would have another sha256; then nothing is written.
    """
    data = save_bytes({k: v.detach().cpu().contiguous().clone() for k, v in sorted(tensors.items())}, metadata)
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise WeightsError(
            f"weights for {path} have sha256 {sha256} and the card expects {expected_sha256}; "
            "use the checkpoint that the card means, or name another file with --out."
        )
    write_file(path, data, remedy="choose a folder with space that is writable", error=WeightsError)
    return sha256


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
        check_header(data, len(data))
        return dict(sorted(load_bytes(data).items()))  # which come in any order
    except Exception as error:  # whatever the parser makes of a stranger's bytes
        raise WeightsError(
            f"weights {path} are not a safetensors file ({_first_line(error)}); "
            "`bench convert` turns a published PyTorch checkpoint into one."
        ) from error


def without_cast_counters(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with the batch counters of `own` where theirs were made floats, as half precision does it.

    Half precision has no number above 65,504 for them, and they do not enter evaluation.
    """
    return {
        name: own[name] if name.endswith(COUNTER) and value.is_floating_point() and name in own else value
        for name, value in tensors.items()
    }


def check_replaceable(path: Path, names: Collection[str]) -> None:
    """Raise where a file whose name a card chose holds something else than weights, with some of these names.

    Args:
        path: Where weights are about to be written.
        names: Of their tensors.

    Raises:
        WeightsError: Something else lies there.
    """
    if not os.path.lexists(path):
        return
    try:
        held = set(load_tensors(path))
    except WeightsError:
        held = set()
    if held.isdisjoint(names):  # not more: some tensors only come to be while a detector is trained
        raise WeightsError(
            f"'{path}' is there and holds no weights of this detector: move it away, or name another place (--out)."
        )


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


def check_state(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Raise unless a state has exactly the expected names and shapes, and only finite numbers.

    Args:
        expected: Tensors by name, of the shapes that are needed.
        given: Tensors by name, as read.
        what: What is given, for the sentence.

    Raises:
        WeightsError: In one sentence, what is missing, too much, or of another shape.
    """
    faults = []
    if missing := [name for name in expected if name not in given]:
        faults.append(f"missing {_some(missing)}")
    if unexpected := [name for name in given if name not in expected]:
        faults.append(f"unexpected {_some(unexpected)}")
    shared = [name for name in expected if name in given]
    if reshaped := [name for name in shared if given[name].shape != expected[name].shape]:
        first = reshaped[0]
        faults.append(
            f"another shape of {_some(reshaped)} ({first} is {tuple(given[first].shape)} "
            f"and must be {tuple(expected[first].shape)})"
        )
    if faults:
        raise WeightsError(f"{what} do not fit: {'; '.join(faults)}; use the weights made for this network.")
    broken = [name for name in shared if given[name].is_floating_point() and not bool(given[name].isfinite().all())]
    if broken:
        raise WeightsError(f"{what} hold NaN or infinite numbers in {_some(broken)}; make the weights anew.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    return f"{shown} and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else shown


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
