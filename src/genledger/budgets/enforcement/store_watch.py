"""Watch for kill switches and budgets in the store, for a process without rules."""

from __future__ import annotations

import time
from pathlib import Path

from genledger.shared.file_stamp import stamp_of
from genledger.shared.loggers import logger_of

_log = logger_of("genledger.budgets")

LOOK_SECONDS = 1.0
"""How often a call looks, at most, whether the store's file has changed."""

SETTLED_NS = 2_000_000_000
"""Age in nanoseconds from which a file that looks the same is the same, whatever its system's clock ticks in."""


class StoreWatch:
    """Looks at the modification time of a store's file when a call is made; there is no thread and no new file.

    Args:
        url: As for `open_store`. A store that is not a file cannot be watched: it counts as in use.
    """

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._next = 0.0
        self._stamp: object = None

    def in_use(self) -> bool:
        """Return whether calls have to ask the store."""
        moment = time.monotonic()
        if moment < self._next:
            return False
        self._next = moment + LOOK_SECONDS
        from genledger.budgets.stores import file_of

        path = file_of(self._url)
        if path is None:
            return True
        # What is written goes to the write-ahead log first.
        stamps = stamp_of(path), stamp_of(f"{path}-wal")
        if stamps[0] is None or stamps == self._stamp:
            return False
        settled = time.time_ns() - max(stamp.modified_ns for stamp in stamps if stamp is not None) > SETTLED_NS
        self._stamp = stamps if settled else None
        return self._is_set(path)

    def _is_set(self, path: Path) -> bool:
        from genledger.budgets.enforcement.kill_switch import Controls
        from genledger.budgets.stores.sqlite import SQLiteStore

        store = SQLiteStore(str(path))
        try:
            controls = Controls.read(store.document())
        except Exception as error:
            # Only who named the store is bothered about one that cannot be read.
            _log.debug("Cannot read the budget store; its kill switches have no effect: %s", error)
            return self._url is not None
        finally:
            store.close()
        now = time.time()
        return bool(controls.budgets) or any(kill.until is None or now < kill.until for kill in controls.kills)
