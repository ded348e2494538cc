"""What is said of a method's own mistakes, and of a store that the operating system does not let be written."""

import errno
import os
from pathlib import Path

import pytest

from bench.errors import CellError, mishap
from bench.evaluation.store_errors import StoreError, said, store_error


def test_memory_that_is_used_up_is_a_failed_cell_with_a_remedy():
    failure = mishap(MemoryError())
    assert isinstance(failure, CellError)
    assert str(failure) == "the memory is used up; use a smaller --limit or another --device."


def test_any_other_mistake_of_a_method_names_itself_in_one_line_and_keeps_its_cause():
    error = ZeroDivisionError("by\nzero")
    failure = mishap(error)
    assert str(failure).startswith("ZeroDivisionError in the detector or the threat (by zero);")
    assert failure.__cause__ is error


@pytest.mark.parametrize(
    ("number", "cause", "remedy"),
    [
        (errno.ENOSPC, "there is no space left on the disk", "free some space or choose another folder"),
        (errno.EDQUOT, "the disk quota is used up", "free some space or choose another folder"),
        (errno.EFBIG, "a file would be larger than is allowed", "raise the limit or choose another folder"),
        (errno.EROFS, "the file system is read-only", "choose another folder"),
        (errno.EACCES, "permission is denied", "choose a folder of your own"),
        (errno.EPERM, "permission is denied", "choose a folder of your own"),
        (errno.ENOTDIR, "a file is in the way of a folder", "choose another folder"),
        (errno.EEXIST, "a file is in the way of a folder", "choose another folder"),
        (errno.ENOTEMPTY, "what is no cell is in the place of one", "move it away or choose another folder"),
        (errno.ELOOP, "a link is in the way of a folder", "remove the link or choose another folder"),
        (errno.EIO, os.strerror(errno.EIO), "choose another folder"),
    ],
)
def test_an_error_of_the_system_is_told_by_cause_and_remedy(number: int, cause: str, remedy: str) -> None:
    error = OSError(number, os.strerror(number))
    kept = "; the cells that are stored are kept"
    for doing, end in (("write", kept), ("read", "")):
        sentence = str(store_error(error, Path("runs"), doing))
        assert sentence == f"cannot {doing} the store 'runs': {cause}; {remedy} (--out){end}."
    with pytest.raises(StoreError, match="cannot read the store") as caught, said(Path("runs"), "read"):
        raise error
    assert caught.value.__cause__ is error
