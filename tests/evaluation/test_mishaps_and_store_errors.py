"""What is said of a method's own mistakes, and of a store that the operating system does not let be written."""

import errno
import os
from pathlib import Path

import pytest

from bench.errors import CardError, CellError, UsageError, mishap, reading, shorten
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


@pytest.mark.parametrize(("length", "kept"), [(299, 299), (300, 300), (301, 300), (5000, 300)])
def test_what_a_method_says_is_told_up_to_a_length(length, kept):
    words = ("abcdefghi " * length)[:length].rstrip()  # of these lengths no text ends in a space
    told = str(mishap(ValueError(words)))
    assert told.partition("(")[2].partition(");")[0].rstrip() == words[:kept].rstrip()


@pytest.mark.parametrize(("length", "kept"), [(119, 119), (120, 120), (121, 120), (5000, 120)])
def test_what_a_parser_says_is_told_up_to_a_length_on_one_line_and_printable(length, kept):
    said = "x" * length
    with pytest.raises(UsageError) as error, reading("row 'a.json'"):
        raise ValueError(said)
    assert str(error.value) == (
        f"row 'a.json' cannot be read (ValueError: {'x' * kept}); correct it or write it again."
    )
    assert isinstance(error.value.__cause__, ValueError)


def test_a_parser_that_says_nothing_is_told_by_its_kind_and_no_sentence_is_wrapped_twice():
    with pytest.raises(CardError) as error, reading("card 'a'", CardError):
        raise ZeroDivisionError
    assert str(error.value) == "card 'a' cannot be read (ZeroDivisionError); correct it or write it again."
    with pytest.raises(CardError, match=r"\(ValueError: two lines \?\[2J\)"), reading("card 'a'", CardError):
        raise ValueError("two\n lines \x1b[2J")
    with pytest.raises(CellError, match=r"^as it is$"), reading("card 'a'", CardError):
        raise CellError("as it is")


def test_a_value_that_is_quoted_is_cut_beyond_its_length():
    assert [len(shorten("x" * count)) for count in (77, 78, 79, 1000)] == [79, 80, 80, 80]
    assert shorten("x" * 78) == "'" + "x" * 78 + "'"
    assert shorten("x" * 79) == "'" + "x" * 76 + "..."
    assert shorten([1] * 100, 10) == "[1, 1, ..."
