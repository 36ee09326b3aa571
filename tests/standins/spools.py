"""What is on disk, as another process sees it."""

from __future__ import annotations

from pathlib import Path

from genledger.destinations.delivery.spool import Spool


def on_disk(directory: Path) -> int:
    """Spans in all spools below a directory, whoever may be sending them."""
    spans = 0
    for file in directory.rglob("spool.db"):
        spool = Spool(file.parent)
        spans += spool.all_pending().spans
        spool.close()
    return spans
