"""Alerting inside of the application: a thread that evaluates the rules, in one process at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from genledger.alerting.alert_book import report_lost
from genledger.alerting.evaluator import run_round
from genledger.alerting.rules import AlertFile, read_alert_file
from genledger.budgets import RuleFileError, Store, StoreDown, open_store
from genledger.ledger import Ledger, LedgerError
from genledger.shared.file_stamp import stamp_of
from genledger.shared.loggers import logger_of
from genledger.shared.worker import Worker

_log = logger_of("genledger.alerts")

_CLAIM = "evaluating alerts"


class AlertThread:
    """Evaluates the rules of a file again and again.

    Of all processes that share a budget store, one evaluates in each period. A file with mistakes is logged once; the
    rules before it stay in force.

    Args:
        path: The rule file.
        ledger: The ledger file.
        store: The budget store, or its URL; `None` for the one in the file, else this machine's.
        every: Seconds between two evaluations.
        lost: Returns how many records this process has lost so far.
    """

    def __init__(
        self,
        path: str,
        ledger: str | os.PathLike[str] | None,
        store: Store | str | None,
        *,
        every: float,
        lost: Callable[[], int],
    ) -> None:
        self._path = path
        self._ledger_path = ledger
        self._given = store
        self._store: Store | None = None
        self._every = every
        self._lost = lost
        self._lost_before = 0
        self._file: AlertFile | None = None
        self._stamp: object = self
        self._complained = ""
        self._worker = Worker("genledger-alert-rules", self._work, in_caller=False)

    def start(self) -> None:
        """Start the thread."""
        self._worker.hurry()

    def flush(self, timeout: float) -> bool:
        """Do nothing: what is told is in the store."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Stop. What is told and not delivered is in the store, for the next process."""
        self._worker.stop(self._leave)
        return self._worker.join(timeout)

    def _leave(self) -> None:
        try:
            self._note_lost()
        except Exception as error:
            _log.debug("Lost records could not be noted: %s", error)

    def _work(self) -> float:
        try:
            self._round()
            self._complained = ""
        except (StoreDown, LedgerError, RuleFileError) as error:
            if str(error) != self._complained:
                self._complained = str(error)
                _log.warning("Alert rules could not be evaluated; it is tried again in %g s: %s", self._every, error)
        return self._every

    def _round(self) -> None:
        try:
            self._read()
        finally:
            if self._file is not None and self._file.alert:
                self._note_lost()
                store = self._opened()
                ledger = Ledger(Path(self._ledger_path) if self._ledger_path is not None else None)
                if ledger.path.exists() and store.mark(_CLAIM, 0.9 * self._every):
                    done = run_round(self._file, ledger, store, every_rule=False)
                    for notice in done.notices:
                        _log.warning("%s: %s", notice.title, notice.text.replace("\n", " "))
                    for problem in done.problems:
                        _log.warning("%s", problem)

    def _read(self) -> None:
        stamp = stamp_of(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._file = read_alert_file(self._path)

    def _opened(self) -> Store:
        if self._store is None:
            given = self._given
            if given is None or isinstance(given, str):
                self._store = open_store(given or (self._file.store if self._file is not None else None))
            else:
                self._store = given
        return self._store

    def _note_lost(self) -> None:
        lost = self._lost()
        if lost > self._lost_before and self._file is not None:
            report_lost(self._opened(), lost - self._lost_before)
            self._lost_before = lost
