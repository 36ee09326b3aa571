"""The stored price table: fetched when `genledger prices update` says so, and never otherwise."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from genledger.shared.loggers import logger_of
from genledger.shared.private_attributes import read_price_table
from genledger.shared.private_files import make_directory

_log = logger_of("genledger")
_FILE = "price-table.json"


class UpdateError(Exception):
    """The price table could not be updated. The message says why; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stored price table: its providers as fetched, the day they were, and where they are from."""

    providers: list[object]
    fetched: str
    url: str


def location() -> Path:
    """Where the fetched table is stored, below the user's data directory."""
    from platformdirs import user_data_path

    return user_data_path("genledger") / _FILE


def read() -> Snapshot | None:
    """Return the stored table, or `None` when none is stored or it cannot be read."""
    try:
        with location().open(encoding="utf-8") as file:
            raw = json.load(file)
        return Snapshot(list(raw["providers"]), str(raw["fetched"]), str(raw["url"]))
    except FileNotFoundError:
        return None
    except Exception as error:
        complain(error)
        return None


def complain(error: Exception) -> None:
    """Say once that the stored table is not used."""
    _log.warning(
        "The stored price table %s cannot be read (%s); using the one from genai-prices. "
        "Run `genledger prices update`, or delete the file.",
        location(),
        type(error).__name__,
    )


def update() -> Snapshot:
    """Fetch the table that genai-prices publishes, check it, and store it with today's date.

    Raises `UpdateError`, having changed nothing, when the table cannot be fetched, read or stored.
    """
    import httpx2
    from genai_prices.update_prices import UpdatePrices

    source = UpdatePrices()
    try:
        response = httpx2.get(source.url, timeout=source.request_timeout)
        response.raise_for_status()
        providers = json.loads(response.content)
        if not isinstance(providers, list) or not read_price_table(providers):
            raise UpdateError(f"{source.url} did not return a price table")
    except UpdateError:
        raise
    except Exception as error:
        raise UpdateError(f"cannot fetch the price table from {source.url}: {error or type(error).__name__}") from error
    stored = Snapshot(providers, datetime.now(UTC).date().isoformat(), source.url)
    try:
        _store(stored)
    except OSError as error:
        raise UpdateError(f"cannot store the price table at {location()}: {error}") from error
    return stored


def _store(stored: Snapshot) -> None:
    target = location()
    make_directory(target.parent)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=_FILE)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"fetched": stored.fetched, "url": stored.url, "providers": stored.providers}, file)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
