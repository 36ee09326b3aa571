"""Files and directories for their owner only: they name tenants and users, and what was spent on them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700


def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, each for its owner only.

    `Path.mkdir(parents=True)` makes the ones above with the permissions of the umask.

    Raises:
        OSError: One of them cannot be made, or is something else.
    """
    try:
        path.mkdir(DIRECTORY_MODE, exist_ok=True)
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_directory(path.parent)
        path.mkdir(DIRECTORY_MODE, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file for its owner only, unless there is one.

    Raises:
        OSError: It cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))


def close_to_others(path: Path) -> None:
    """Take from everyone but the owner and the group what they may do with a file of this user.

    The group keeps its permissions where they differ from everyone's: an operator chose them. Where they do
    not, they came from a umask, and go as well. Does nothing to a file that is missing or another user's.
    """
    with suppress(OSError, AttributeError):  # Windows has no user ids, and no such permissions
        status = path.stat()
        group, others = status.st_mode & stat.S_IRWXG, status.st_mode & stat.S_IRWXO
        if others and status.st_uid == os.geteuid():
            chosen = group if group >> 3 != others else 0
            path.chmod(status.st_mode & stat.S_IRWXU | chosen)


def share_like(path: Path, example: Path) -> None:
    """Give a file the owner (if the superuser asks), the group and the permissions of another, as far as possible."""
    with suppress(OSError, AttributeError):
        mine, other = path.stat(), example.stat()
        if (mine.st_uid, mine.st_gid) != (other.st_uid, other.st_gid):
            with suppress(PermissionError):
                os.chown(path, other.st_uid if os.geteuid() == 0 else -1, other.st_gid)
        if mine.st_mode != other.st_mode:
            path.chmod(stat.S_IMODE(other.st_mode))
