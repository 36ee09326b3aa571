"""An instrumentor is a description: what others could share is in the adapters and the formats."""

from __future__ import annotations

from pathlib import Path

import pytest

import genledger_instrumentors

LONGEST = 120
"""Lines of a client's description."""

ROOT = Path(genledger_instrumentors.__file__).parent
MODULES = sorted(
    file for folder in ("providers", "frameworks", "vectorstores") for file in (ROOT / folder).glob("[!_]*.py")
)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_an_instrumentor_is_short(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST
