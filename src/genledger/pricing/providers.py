"""The table of providers, `providers.toml`: what they are called, and at which hosts they answer.

It is read when the first name is looked up.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_FILE = Path(__file__).with_suffix(".toml")


class Seller(NamedTuple):
    """A provider: its name in the conventions, and its id in prices, where it has any."""

    name: str
    id: str | None


class Providers:
    """The providers of a table.

    Attributes:
        ids: The id of each provider that sells something, by every name that it has.
        names: The name in the conventions of each provider, by every name that it has.
        tables: The provider that the price table has an id under, where that is not the id.
    """

    def __init__(self, entries: dict[str, dict[str, list[str] | str]]) -> None:
        self.ids: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.tables: dict[str, str] = {}
        self._domains: dict[str, Seller] = {}
        self._patterns: list[tuple[re.Pattern[str], Seller]] = []
        for name, entry in entries.items():
            self.names.update(dict.fromkeys((name, *entry.get("aliases", ())), name))
            identifier = entry.get("id")
            seller = Seller(name, identifier if isinstance(identifier, str) else None)
            if seller.id is not None:
                called = (name, *entry.get("aliases", ()))
                self.ids.update(dict.fromkeys(called, seller.id))
                self.names.update(dict.fromkeys(called, name))
                if isinstance(table := entry.get("table"), str):
                    self.tables[seller.id] = table
            for host in entry.get("hosts", ()):
                if "*" in host:
                    self._patterns.append((re.compile(re.escape(host).replace(r"\*", ".*")), seller))
                else:
                    self._domains[host] = seller

    def at(self, host: str) -> Seller | None:
        """Return who answers at a host (in lower case), or `None` when nobody known does."""
        domain = host
        while domain:
            if (seller := self._domains.get(domain)) is not None:
                return seller
            domain = domain.partition(".")[2]
        return next((seller for pattern, seller in self._patterns if pattern.fullmatch(host)), None)


@lru_cache(maxsize=1)
def providers() -> Providers:
    """Return the table."""
    import tomllib

    return Providers(tomllib.loads(_FILE.read_text(encoding="utf-8")))
