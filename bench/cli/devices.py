"""Where to compute: the device that a name of the command line stands for."""

from bench.errors import UsageError


def resolve_device(name: str) -> str:
    """`auto` is the first CUDA device where there is one, else the CPU; any other name is checked to be there.

    Raises:
        UsageError: This machine, or this build of torch, has no such device.
    """
    import torch

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
