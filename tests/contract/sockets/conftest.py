"""Every row of `rows/`, synchronous and not."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.conftest import described, importable
from tests.contract.sockets import rows
from tests.contract.sockets.row import SocketRow
from tests.contract.sockets.server import SocketServer, socket_server


def _rows() -> Iterator[Any]:
    for found in pkgutil.iter_modules(rows.__path__):
        for row in importlib.import_module(f"{rows.__name__}.{found.name}").ROWS:
            for asynchronous in [False] * row.synchronous + [True] * row.asynchronous:
                skip = () if importable(row.module) else (pytest.mark.skip(reason=f"{row.module} is not installed"),)
                name = f"{row.library}-{row.operation}-{'async' if asynchronous else 'sync'}"
                yield pytest.param((row, asynchronous), id=name, marks=skip)


@dataclass
class SocketCase:
    """One kind of socket, and the server that it is opened to."""

    row: SocketRow
    asynchronous: bool
    server: SocketServer

    async def talk(self, limit: int | None = None) -> list[Any]:
        """What an application gets, or only so much of it before it leaves."""
        async with asyncio.timeout(60):
            return await self._talk(limit)

    async def _talk(self, limit: int | None) -> list[Any]:
        found: list[Any] = []
        said = self.row.talk(self.row.client(self.server.address, self.asynchronous))
        try:
            async for one in said:
                found.append(one)
                if len(found) == limit:
                    break
        finally:
            await said.aclose()  # type: ignore[attr-defined]
        return found


@pytest.fixture(params=list(_rows()))
def socket_case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SocketCase]:
    """Each kind of socket in turn."""
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    row, asynchronous = request.param
    request.node.user_properties += described(row.library, f"{row.operation} (socket)", asynchronous, store=False)
    with socket_server(row.script) as server:
        yield SocketCase(row, asynchronous, server)
