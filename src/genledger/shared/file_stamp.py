"""Detect changes of a file without reading it."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileStamp(NamedTuple):
    """Modification time and size of a file; they differ when it has changed."""

    modified_ns: int
    size: int


def stamp_of(path: str | os.PathLike[str]) -> FileStamp | None:
    """Return the stamp of a file; `None` when it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return FileStamp(status.st_mtime_ns, status.st_size)
