"""The header of a safetensors file from a stranger, before the library builds anything from it.

The library itself refuses tensors beyond the end of the file, gaps and overlaps; it takes a header of 100 MB, whose
millions of empty tensors would take gigabytes as objects.
"""

import struct

MAX_HEADER = 4 << 20
"""Bytes; a network of 1,000 tensors has a header of about 100 kB."""


def check_header(start: bytes, size: int) -> None:
    """Refuse a header that is longer than any network's, or than its file.

    Args:
        start: The first eight bytes of the file, or more.
        size: Bytes of the file.

    Raises:
        ValueError: In a few words, why.
    """
    if len(start) < 8:
        raise ValueError("it is shorter than a header")
    (length,) = struct.unpack("<Q", start[:8])
    if length > size - 8:
        raise ValueError(f"its header says that it has {length:,} bytes, and the file has {size:,}")
    if length > MAX_HEADER:
        raise ValueError(f"its header has {length:,} bytes; allowed are {MAX_HEADER:,}")
