"""All the rules of a process: from a TOML file, which is read again when it changes, or from code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from genledger.budgets.rules.last_good import copy_of, keep
from genledger.budgets.rules.rule_names import twin, twins
from genledger.budgets.rules.scope import RuleError
from genledger.budgets.stores import check_store
from genledger.channels.outbox import Targets
from genledger.shared.file_stamp import stamp_of
from genledger.shared.toml_file import TomlFileError

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Route, Rule


class RuleFileError(TomlFileError):
    """A rule file cannot be used. The message names the file and, for each mistake, its line."""

    @property
    def store(self) -> str | None:
        """Return the store that the file names, if usable: kill switches work with an invalid file, too."""
        store = self.document.get("store")
        if not isinstance(store, str):
            return None
        try:
            check_store(store)
        except ValueError:
            return None
        except ModuleNotFoundError:
            pass  # which is no mistake of the file
        return store


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything that a rule file can hold.

    `store` is a URL for `open_store`, `alerts` are the channels that events go to, `tenants` maps tenants to plan
    tiers. `has_alert_rules` says whether the file has rules for `genledger.alerting`, too.

    Raises:
        RuleError: Two rules have one name, and so would share their counters.
    """

    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    default_tier: str | None = None
    tenants: Mapping[str, str] = field(default_factory=dict)
    alerts: Targets = Targets()
    store: str | None = None
    has_alert_rules: bool = False

    def __post_init__(self) -> None:
        for place in twins(self.rules):
            raise RuleError("name", twin(self.rules[place]))


def read_rules(path: str | os.PathLike[str]) -> Rulebook:
    """Read a rule file; docs/budgets.md describes it.

    Raises:
        RuleFileError: It cannot be read, is not TOML, or has mistakes.
    """
    from genledger.budgets.rules.rule import RuleFile
    from genledger.shared.toml_table import read_table

    file = read_table(path, RuleFile, RuleFileError, Decimal)
    return Rulebook(
        rules=tuple(file.budget),
        routes=tuple(file.route),
        default_tier=file.tiers.default,
        tenants=file.tiers.tenants,
        alerts=file.alerts.targets,
        store=file.store,
        has_alert_rules=bool(file.alert),
    )


def rules_instead(error: RuleFileError) -> tuple[Rulebook, bool]:
    """Return what holds in the place of a file with mistakes, for a process that starts now.

    Returns:
        The rules that were last read from it on this machine, and true; else none but its store, and false.
    """
    with suppress(RuleFileError):
        return read_rules(copy_of(error.path)), True
    return Rulebook(store=error.store), False


class WatchedRules:
    """A rule file that is read again when it changes. While it has mistakes, what was read before stays in force.

    What another process read before counts, too: each keeps a copy of what it could use.

    Args:
        path: The file.
        on_invalid: What holds while the file has mistakes and no rules are known from before: `open` (no budget) or
            `closed` (every call is refused).

    Attributes:
        book: The rules in force.
        refusal: Why every call is refused; `None` if it is not.
    """

    def __init__(self, path: str | os.PathLike[str], *, on_invalid: Literal["open", "closed"] = "open") -> None:
        self._path = os.fspath(path)
        self._on_invalid = on_invalid
        self._stamp: object = self  # of no file
        self._understood = False
        self.book = Rulebook()
        self.refusal: str | None = None

    @property
    def holds_instead(self) -> str:
        """Return what holds while the file has mistakes, for people."""
        if self._understood:
            return "the previous rules stay in force until you correct the file"
        if self.refusal is not None:
            return "every call is refused until you correct the file (on_invalid_rules=closed)"
        return "no budget applies until you correct the file"

    def read(self) -> bool:
        """Read the file if it has changed; true when there are new rules.

        Raises:
            RuleFileError: It cannot be used. Raised once for each state of the file.
        """
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.book = read_rules(self._path)
        except RuleFileError as error:
            if not self._understood:
                self.book, self._understood = rules_instead(error)
                if not self._understood and self._on_invalid == "closed":
                    self.refusal = f"the rule file has mistakes and no earlier rules are known: {error.lines[0]}"
            raise
        self._understood = True
        self.refusal = None
        if stamp_of(self._path) == stamp:
            keep(self._path)
        return True
