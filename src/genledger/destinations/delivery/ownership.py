"""Files and directories that only this user can have written.

What waits on disk is sent with this process's credentials. A spool below a directory that others can write to (`/tmp`,
a shared volume) must therefore not be believed for its name: what is not ours alone is left alone, and named once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from genledger.shared.loggers import logger_of
from genledger.shared.private_files import make_directory

log = logger_of("genledger")

_named: set[str] = set()


class NotOurs(PermissionError):
    """A file or directory that others can have written."""


def own_directory(path: Path) -> None:
    """Make a directory that only this user can enter, or check that the one that is there is one.

    Raises:
        NotOurs: Somebody else's, a symbolic link, no directory, or open to others.
        OSError: It cannot be made or looked at.
    """
    make_directory(path)
    _check(os.lstat(path), str(path), stat.S_ISDIR, "directory")


def is_own_directory(path: Path) -> bool:
    """Return whether a directory exists and only this user can enter it."""
    try:
        _check(os.lstat(path), str(path), stat.S_ISDIR, "directory")
    except OSError:
        return False
    return True


def own_file(path: Path) -> None:
    """Check that a file, if it is there, is one that only this user can open.

    Raises:
        NotOurs: Somebody else's, a symbolic link, no file, or open to others.
        OSError: It cannot be looked at.
    """
    with suppress(FileNotFoundError):
        _check(os.lstat(path), str(path), stat.S_ISREG, "file")


def is_own_file(path: Path) -> bool:
    """Whether a file is there and only this user can open it."""
    try:
        _check(os.lstat(path), str(path), stat.S_ISREG, "file")
    except OSError:
        return False
    return True


def _check(status: os.stat_result, path: str, is_kind: Callable[[int], bool], kind: str) -> None:
    problem = None
    if stat.S_ISLNK(status.st_mode):
        problem = "a symbolic link"
    elif not is_kind(status.st_mode):
        problem = f"no {kind}"
    elif not hasattr(os, "geteuid"):
        problem = None  # Windows has no user ids, and no such permissions
    elif status.st_uid != os.geteuid():
        problem = f"owned by user {status.st_uid}, not by {os.geteuid()} as this process"
    elif status.st_mode & 0o077:
        problem = f"open to others (mode {stat.S_IMODE(status.st_mode):04o}); chmod go= it if it is yours"
    if problem is None:
        return
    if path not in _named:
        _named.add(path)
        log.warning("genledger: %s is not used: it is %s", path, problem)
    raise NotOurs(f"{path} is {problem}")
