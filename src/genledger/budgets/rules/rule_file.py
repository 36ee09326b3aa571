"""All the rules of a process: from a TOML file, which is read again when it changes, or from code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from genledger.budgets.rules.rule_names import twin, twins
from genledger.budgets.rules.scope import RuleError
from genledger.shared.file_stamp import stamp_of
from genledger.shared.toml_file import TomlFileError

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Route, Rule


class RuleFileError(TomlFileError):
    """A rule file cannot be used. The message names the file and, for each mistake, its line."""

    @property
    def store(self) -> str | None:
        """Return the store that the file names, if readable: kill switches work with an invalid file, too."""
        store = self.document.get("store")
        return store if isinstance(store, str) else None


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything that a rule file can hold.

    `store` is a URL for `open_store`, `alerts` are URLs for the notification library, `tenants` maps tenants to
    plan tiers.

    Raises:
        RuleError: Two rules have one name, and so would share their counters.
    """

    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    default_tier: str | None = None
    tenants: Mapping[str, str] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    store: str | None = None

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
        alerts=file.alerts.to,
        store=file.store,
    )


class WatchedRules:
    """A rule file that is read again when it changes. While it has mistakes, what was read before stays in force.

    Attributes:
        book: What was read last; of a file that had mistakes from the start, only its store.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._stamp: object = self  # of no file
        self._understood = False
        self.book = Rulebook()

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
                self.book = Rulebook(store=error.store)
            raise
        self._understood = True
        return True
