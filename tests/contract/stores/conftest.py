"""Every store of `rows/`, synchronous and not."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import described, importable
from tests.contract.stores import rows
from tests.contract.stores.row import StoreRow
from tests.instrumentors.provider import now


def _rows() -> Iterator[Any]:
    for found in pkgutil.iter_modules(rows.__path__):
        row = importlib.import_module(f"{rows.__name__}.{found.name}").ROW
        for asynchronous in (False, True) if row.asynchronous else (False,):
            skip = () if importable(row.module) else (pytest.mark.skip(reason=f"{row.module} is not installed"),)
            name = f"{row.library}-{'async' if asynchronous else 'sync'}"
            yield pytest.param((row, asynchronous), id=name, marks=skip)


@dataclass
class StoreCase:
    """One store, and how to use it whether its methods are to be awaited or not."""

    row: StoreRow
    asynchronous: bool

    async def open(self) -> Any:
        """An empty store."""
        return await now(self.row.open(self.asynchronous))

    async def write(self, store: Any) -> Any:
        """Store the suite's records."""
        return await now(self.row.write(store))

    async def filled(self) -> Any:
        """A store with the suite's records."""
        store = await self.open()
        await self.write(store)
        return store

    async def search(self, store: Any, limit: int = 2, vector: Any = (0.0, 0.0), **options: Any) -> Any:
        """Search at (0, 0)."""
        vector = list(vector) if isinstance(vector, tuple) else vector
        return await now(self.row.search(store, vector=vector, limit=limit, **options))


@pytest.fixture(params=list(_rows()))
def store_case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreCase:
    """Each store in turn."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    row, asynchronous = request.param
    request.node.user_properties += described(row.library, "retrieval", asynchronous, store=True)
    return StoreCase(row, asynchronous)
