"""Keep freed memory in the process, where the C library lets one ask for it."""

import ctypes
import sys
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_LARGE = 1 << 30


def hold_freed_memory() -> None:
    """Have glibc hand freed blocks out again instead of giving them back to the system.

    Without it every large activation of a network is mapped anew in every pass, and the system clears each page: on a
    DenseNet in batches of 128 that took more processor time than the network itself. It does nothing elsewhere.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        for parameter, value in ((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, _LARGE), (_MMAP_MAX, 0)):
            library.mallopt(parameter, value)


def give_back_freed_memory() -> None:
    """Hand whole pages of freed blocks back to the system now, which blocks of changing sizes have left scattered.

    Between two pieces of work it bounds what a long run holds; what the next piece takes is mapped anew, once.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
