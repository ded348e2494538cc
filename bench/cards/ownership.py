"""Whether a workspace that was found, and not named, is the user's own: its cards execute code.

A `robustood.toml` further up may be anybody's: in `/tmp`, in a shared folder, in a folder that was unpacked as another
user. As git does with repositories, such a workspace is used only when it is named.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bench.errors import UsageError


def refuse_foreign_workspace(folder: Path, marker: str, content: tuple[str, ...]) -> None:
    """Raise unless nobody but this user, or root, can have put cards there.

    The folder, its marker, what the marker links to, and the folders of cards must belong to the user: to the one who
    runs the command, to root, who can change any file anyway, or, under sudo, to the one who called it. Run as root,
    everything that belongs to another is foreign. Nobody else may be able to write into the folder, or to replace it by
    writing into one above it that has no sticky bit. Where a system has no user ids, nothing is checked.

    Args:
        folder: The workspace.
        marker: The name of the file that makes it one.
        content: The names of its folders of cards.

    Raises:
        UsageError: It is not the user's own, in one sentence.
    """
    if not hasattr(os, "geteuid"):
        return
    reason = next(_reasons(folder, marker, content), None)
    if reason is not None:
        raise UsageError(
            f"the workspace {folder} was found and not named, and {reason}: its cards execute code, so it is not used; "
            "name it with --workspace if you trust it, or run the command elsewhere."
        )


def _reasons(folder: Path, marker: str, content: tuple[str, ...]) -> Iterator[str]:
    own = _own_users()
    for path in (folder, folder / marker, *(folder / name for name in content)):
        for status in _statuses(path):
            if status.st_uid not in own:
                yield f"{path} belongs to another user (uid {status.st_uid})"
    if folder.stat().st_mode & stat.S_IWOTH:
        yield f"everybody may write into {folder}"
    resolved = folder.resolve()
    for above in {*folder.parents, *resolved.parents}:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"everybody may replace it, since {above} can be written by all and has no sticky bit"


def _own_users() -> set[int]:
    """The user ids whose files are as good as one's own."""
    own = {0, os.geteuid()}
    caller = os.environ.get("SUDO_UID", "")
    if os.geteuid() == 0 and caller.isascii() and caller.isdigit():
        own.add(int(caller))
    return own


def _statuses(path: Path) -> Iterator[os.stat_result]:
    """Of a path and, where it is a link, of what it leads to; nothing where there is none."""
    try:
        yield path.lstat()
        yield path.stat()
    except FileNotFoundError:
        return
