"""Budget stores: memory, a SQLite file, or Redis."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from genledger.budgets.stores.base import REDIS_IS_MISSING, Store, StoreDown
from genledger.shared.addresses import without_credentials

__all__ = ["Store", "StoreDown", "check_store", "file_of", "open_store"]


def open_store(url: str | os.PathLike[str] | None = None) -> Store:
    """Open the store at a URL.

    Args:
        url: `memory:`; `sqlite:///budgets.db` or the path of a file; `redis://host:6379/0`, `rediss://…` or
            `unix://…` (options in docs/budgets.md). Without one, a SQLite file of this user on this machine.

    Raises:
        ValueError: The URL has another scheme.
        ModuleNotFoundError: It needs the Redis client, which is not installed.
    """
    check_store(url)
    path = file_of(url)
    if path is not None:
        from genledger.budgets.stores.sqlite import SQLiteStore

        return SQLiteStore(str(path))
    text = os.fspath(url or "")
    if text.startswith("memory"):
        from genledger.budgets.stores.memory import MemoryStore

        return MemoryStore()
    from genledger.budgets.stores.redis import RedisStore

    return RedisStore.from_url(text)


def check_store(url: str | os.PathLike[str] | None = None) -> None:
    """Check whether a store at a URL can be opened at all; connects to nothing.

    Raises:
        ValueError: The URL has another scheme.
        ModuleNotFoundError: It needs the Redis client, which is not installed.
    """
    if file_of(url) is not None:
        return
    text = os.fspath(url or "")
    scheme, _, rest = text.partition(":")
    if scheme in ("redis", "rediss", "unix"):
        if find_spec("redis") is None:
            raise ModuleNotFoundError(REDIS_IS_MISSING, name="redis")
    elif scheme != "memory" or rest.strip("/"):
        raise ValueError(
            f"budget store {without_credentials(text)!r}: "
            "expected memory:, sqlite:///path, a path, redis://, rediss:// or unix://"
        )


def file_of(url: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the SQLite file that a URL for `open_store` names, or `None`."""
    if url is None:
        return platformdirs.user_state_path("genledger") / "budgets.db"
    text = os.fspath(url)
    scheme, separator, _ = text.partition(":")
    if scheme == "sqlite" or len(scheme) == 1 or (not separator and scheme != "memory"):
        return Path(text.removeprefix("sqlite:///").removeprefix("sqlite:"))
    return None
