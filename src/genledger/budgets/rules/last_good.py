"""The rules that a file held when it last had no mistakes, kept on this machine for processes that start later."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from genledger.shared.loggers import logger_of
from genledger.shared.private_files import make_directory, make_file

_log = logger_of("genledger.budgets")


def copy_of(path: str | os.PathLike[str]) -> Path:
    """Return where the copy of a rule file is, or would be."""
    digest = hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()[:16]
    return platformdirs.user_state_path("genledger") / "rules" / f"{digest}.toml"


def keep(path: str | os.PathLike[str]) -> None:
    """Keep a copy of a rule file that has no mistakes, for its owner only. Without a place for it, there is none."""
    copy = copy_of(path)
    try:
        content = Path(path).read_bytes()
        with suppress(OSError):
            if copy.read_bytes() == content:
                return
        make_directory(copy.parent)
        written = copy.with_suffix(f".{os.getpid()}")
        make_file(written)
        written.write_bytes(content)
        written.replace(copy)
    except OSError as error:
        _log.debug("No copy of the rule file is kept: %s", error)
