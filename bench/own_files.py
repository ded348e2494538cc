"""Files whose names this program chose and not its user: they take the place of nothing but its own former ones."""

import re
from collections.abc import Mapping
from pathlib import Path

from bench.errors import UsageError
from bench.files import read_file, why, write_file

REMARK = "made by robustood"
"""Stands in a comment of files that have one."""

GENERATOR = '<meta name="generator" content="robustood">'
"""Stands in the head of every page."""

SOFTWARE = "robustood"
"""Stands in an image under the keyword of that name."""

_MARKS = {
    ".html": rb'<meta name="generator" content="robustood">',
    ".svg": rb"<!-- made by robustood -->\s*\Z",
    ".md": rb"<!-- made by robustood -->\s*\Z",
    ".tex": rb"\A% made by robustood\n",
    ".png": rb"tEXtSoftware\0robustood",
    ".csv": rb"\A(track,detector,threat,norm,eps,side,limit,seed,|detector \(mean AUROC\),clean)",
    ".json": rb'\A\{\s*"format":\s*\d+,\s*"(bench|row_sha256)":\s*"',
}
"""What tells a file of ours, by its suffix."""

_ENDS = 4096
"""Bytes at the beginning and at the end in which a mark is looked for."""

_MAX_BYTES = 1 << 30


def write_own(files: Mapping[Path, bytes], remedy: str) -> None:
    """Write files under names of our own; nothing is written where one of them is somebody else's.

    Args:
        files: Content by place; each bears the mark of its kind.
        remedy: What the user can do about it, for the sentence: "name another file (--out)".

    Raises:
        UsageError: A file is there that this program did not write, or one cannot be written.
    """
    for path in files:
        _check(path, remedy)
    for path, content in files.items():
        write_file(path, content, through_links=False, remedy=remedy)


def _check(path: Path, remedy: str) -> None:
    if path.is_symlink():
        return  # not written through, which `write_file` says
    try:
        content = read_file(path, _MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(
            f"'{path}' is there and cannot be looked at ({why(error)}): {remedy}, or move it away."
        ) from error
    if not _is_ours(path, content):
        raise UsageError(
            f"'{path}' is there, and nothing in it tells that this program wrote it: {remedy}, or move it away."
        )


def _is_ours(path: Path, content: bytes) -> bool:
    ends = content if len(content) <= 2 * _ENDS else content[:_ENDS] + content[-_ENDS:]
    return re.search(_MARKS[path.suffix], ends) is not None
