"""Locks of files that tell who is alive, among all that share a kernel and a file system."""

import fcntl
import os
from pathlib import Path

UNKNOWN = "-"
"""In the place of `kernel` where it cannot be told, or nobody can lock."""


def hold(descriptor: int, *, wait: bool, shared: bool = False) -> bool | None:
    """Lock an open file: True where it is held now, None where another holds it, False where nobody can lock here.

    Args:
        descriptor: Of the file.
        wait: Until it can be held.
        shared: With others that hold it so; nobody is kept from it who only looks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def kernel(descriptor: int) -> str:
    """The running kernel and the mounted file system, within which everybody sees everybody's locks.

    Containers share both, whatever they call their host and number their processes; two machines share neither.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return UNKNOWN
    return f"{boot} {os.fstat(descriptor).st_dev}"


def is_still(lock: Path, descriptor: int) -> bool:
    """Whether a path still leads to the file that is open."""
    try:
        return os.path.samestat(lock.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
