"""Work that runs out of memory is done again in smaller batches, and the cell says so."""

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from bench.allocator import give_back_freed_memory
from bench.errors import is_out_of_memory

_T = TypeVar("_T")


def in_batches_that_fit(work: Callable[[int], _T], size: int) -> tuple[_T, int]:
    """What the work gives in batches of this size, or of half of it, and so on where memory does not suffice.

    The work is begun anew each time. Scores in other batches agree within 1e-5 of their spread.

    Args:
        work: Called with a batch size; it may raise whatever a device raises that has no memory left.
        size: The batch size that is wanted.

    Returns:
        What came of it, and the batch size that it took.

    Raises:
        Exception: Whatever the work raises, in batches of one image too.
    """
    while True:
        try:
            return work(size), size
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        # Outside the handler: there the error would still hold the frames, and they the memory.
        size = (size + 1) // 2
        gc.collect()
        give_back_freed_memory()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def halved(wanted: int, size: int, what: str) -> tuple[str, ...]:
    """The sentence for work that was done in smaller batches; none where it was not.

    Args:
        wanted: The batch size that was asked for.
        size: The one that it took.
        what: The work.
    """
    if size == wanted:
        return ()
    return (
        f"memory did not suffice for batches of {wanted} images: {what} in batches of {size} and less; "
        f"--micro-batch {size} computes all in those.",
    )
