"""A detector while it is asked: frozen, in evaluation mode, and afterwards as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(detector: nn.Module) -> Iterator[None]:
    """Freeze the detector in evaluation mode; restore mode, requires_grad and the global random state after.

    On a GPU, convolutions are computed in full float32 (no TF32) by deterministic algorithms meanwhile.
    """
    modes = {module: module.training for module in detector.modules()}
    grads = {parameter: parameter.requires_grad for parameter in detector.parameters()}
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        detector.eval()
        for parameter in grads:
            parameter.requires_grad = False  # by assignment: a lazy module that never ran has no tensor yet
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for parameter, wanted in grads.items():
            parameter.requires_grad = wanted
        torch.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
