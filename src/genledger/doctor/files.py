"""The files that calls, prices and budgets are kept in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from genledger.budgets.rules.rule_file import Rulebook, RuleFileError, read_rules, rules_instead
from genledger.budgets.stores import StoreDown, file_of, open_store
from genledger.doctor.findings import Findings
from genledger.ledger import Ledger, LedgerError, default_path, queries
from genledger.ledger.run_spending import total
from genledger.ledger.traces import last_call
from genledger.pricing import PriceFileError, load_overrides, table, table_update
from genledger.setup.settings import Settings
from genledger.shared.addresses import without_credentials

OLD_TABLE_DAYS = 90
"""Days after which a price table is called old."""


@dataclass(slots=True, frozen=True)
class LedgerState:
    """The ledger file. `exists`: it was there before. `last_call` is an ISO time in UTC; `unpriced` is by reason."""

    path: str
    exists: bool
    size_bytes: int
    calls: int
    last_call: str | None
    unpriced: dict[str, int]
    problem: str | None


@dataclass(slots=True, frozen=True)
class PriceState:
    """Where prices come from. `fetched`: the table is one that `genledger prices update` stored."""

    table_date: str
    fetched: bool
    file: str | None
    own_prices: int


@dataclass(slots=True, frozen=True)
class BudgetState:
    """The rules, and where budgets are kept. `answers` is `None` when there is no store."""

    file: str | None
    rules: int
    store: str
    answers: bool | None


def examine_ledger(settings: Settings, wanted: bool, findings: Findings) -> LedgerState:
    """Examine the ledger. If it is a destination, create a missing file and try a write."""
    path = Path(settings.ledger).expanduser() if settings.ledger is not None else default_path()
    exists = path.exists()
    if not exists and not wanted:
        return LedgerState(str(path), False, 0, 0, None, {}, None)
    ledger = Ledger(path)
    try:
        if wanted:
            ledger.try_write()
        size = ledger.size_bytes()
        with ledger.reading() as connection:
            by_model = queries.spending(connection, "model")
            last_ns = last_call(connection)
    except LedgerError as error:
        findings.wrong("ledger", error)
        return LedgerState(str(path), exists, 0, 0, None, {}, str(error))
    finally:
        ledger.close()
    whole = total(by_model)
    if whole.unpriced:
        models = [str(row.key) for row in by_model if row.unpriced]
        shown = ", ".join(models[:5]) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
        findings.note(
            "ledger",
            f"{whole.unpriced} of {whole.calls} calls are unpriced: {shown}. Run `genledger prices update` for a newer "
            "table, or set your own prices with GENLEDGER_PRICES; then run `genledger prices backfill`",
        )
    last = datetime.fromtimestamp(last_ns / 1e9, UTC).isoformat(timespec="seconds") if last_ns is not None else None
    return LedgerState(str(path), exists, size, whole.calls, last, whole.unpriced_reasons, None)


def examine_prices(settings: Settings, findings: Findings) -> PriceState:
    """Return how old the price table is, and whether the file of the user's own prices can be used."""
    day = table.load().date
    if day and (datetime.now(UTC).date() - date.fromisoformat(day)).days > OLD_TABLE_DAYS:
        findings.note("prices", f"the price table is from {day}; run `genledger prices update` for the newest")
    own = 0
    if settings.prices is not None:
        try:
            own = len(load_overrides(settings.prices))
        except PriceFileError as error:
            findings.wrong("prices", *error.lines)
    return PriceState(day, table_update.read() is not None, settings.prices, own)


def _check_alerts(file: str, findings: Findings) -> None:
    """Check whether the alert rules are valid; mistakes in them stop no budget."""
    from genledger.alerting.rules import read_alert_file

    try:
        targets = read_alert_file(file).alerts.targets
    except RuleFileError as error:
        findings.wrong("alerts", *error.lines)
        return
    if not targets:
        findings.note("alerts", "alerts go to the log only; name channels in the [alerts] table of the rule file")
    for url, variable in targets.webhooks:
        if variable is not None and not os.environ.get(variable):
            findings.wrong("alerts", f"the webhook {without_credentials(url)} needs its secret in {variable}; set it")


def examine_budgets(settings: Settings, findings: Findings) -> BudgetState:
    """Check whether the rule file is valid, and the store answers and takes a write."""
    book = Rulebook()
    # The command has the variables only: no rules or stores that are objects.
    file = settings.budgets if isinstance(settings.budgets, str) else None
    if file is not None:
        try:
            book = read_rules(file)
        except RuleFileError as error:
            findings.wrong("budgets", *error.lines)
            book, known = rules_instead(error)
            if known:
                findings.note("budgets", "the rules that the file last held without mistakes are in force")
        if book.has_alert_rules:
            _check_alerts(file, findings)
    named = settings.budget_store if isinstance(settings.budget_store, str) else book.store
    if named == "off":
        if book.rules:
            findings.wrong("budgets", "GENLEDGER_BUDGET_STORE=off: the rules are not enforced; name a store")
        return BudgetState(file, len(book.rules), "off", None)
    answers = False
    path = file_of(named)
    if file is None and path is not None and not path.exists():
        return BudgetState(None, 0, "none yet", None)
    shown = "the user's own file" if named is None else without_credentials(named)
    try:
        store = open_store(named)
        store.document()
        store.mark("doctor", 1.0, again=True)  # a write, which goes away by itself
        store.close()
        answers = True
    except (StoreDown, ValueError, ModuleNotFoundError) as error:
        findings.wrong("budgets", error)
    return BudgetState(file, len(book.rules), shown, answers)
