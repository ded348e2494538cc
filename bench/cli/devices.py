"""Where to compute: the device that a name of the command line stands for."""

import sys
from pathlib import Path

from bench.errors import UsageError
from bench.lazy import lazily

with lazily():
    import torch

_DEV = Path("/dev")
_NODES = ("nvidia", "nvhost", "nvmap", "nvgpu", "kfd", "dxg")
"""What the names in /dev begin with that drivers of GPUs make on Linux, of which torch can be one's "cuda"."""


def resolve_device(name: str) -> str:
    """`auto` is the first CUDA device where there is one, else the CPU; any other name is checked to be there.

    Torch is imported only where there may be anything to ask it: other processes compute, and it takes two seconds.

    Raises:
        UsageError: This machine, or this build of torch, has no such device.
    """
    if name == "cpu" or (name == "auto" and not may_have_gpu()):
        return "cpu"
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if cuda else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not available to this torch; use --device cpu.")
    if name.startswith("cuda"):
        number = int(name.partition(":")[2] or 0)
        if number >= cuda:
            seen = f"it sees {cuda} of them, numbered from 0" if cuda else "it sees none"
            raise UsageError(f"device '{name}' is not available to this torch ({seen}); use --device cpu or auto.")
    return name


def may_have_gpu() -> bool:
    """False where the system has no driver of a GPU, told without torch; True where that is not known."""
    if not sys.platform.startswith("linux"):
        return True
    try:
        return any(path.name.startswith(_NODES) for path in _DEV.iterdir())
    except OSError:
        return True
