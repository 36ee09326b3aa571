"""What the contract suite has to know of one vector store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

COLLECTION = "papers"
TEXTS = ("first text", "second text", "third text")
VECTORS = ((0.0, 0.0), (1.0, 0.0), (0.0, 3.0))
"""One vector for each text: 0, 1 and 3 away from where the suite searches, in the Euclidean metric."""
FILTERED = "second text"
"""What the suite's filter lets through."""


@dataclass(frozen=True)
class StoreRow:
    """One store of the suite: its engine runs in this process.

    Args:
        library: The library's name for users.
        module: What has to be importable, or the row is skipped.
        system: `db.system.name`.
        open: Makes a store with an empty collection that measures by Euclidean distance; synchronous or not.
        write: Stores the suite's records in it.
        search: Searches it; keywords: `vector`, `limit`, `filtered`, and `gone` for a collection that is not there.
        search_name: `db.operation.name` of a search.
        write_name: `db.operation.name` of a write.
        spread: What the attributes of the least, greatest and mean distance begin with.
        distances: What the store calls the distances 0, 1 and 3.
        asynchronous: Whether there is an asynchronous client of an engine in this process.
        ask: Searches for a text that the store embeds; `None` where that needs a model that is not there.
        options: Options of `genledger.instrument`.
    """

    library: str
    module: str
    system: str
    open: Callable[[bool], Any]
    write: Callable[[Any], Any]
    search: Callable[..., Any]
    search_name: str
    write_name: str
    spread: str
    distances: tuple[float, float, float] = (0.0, 1.0, 3.0)
    asynchronous: bool = True
    ask: Callable[[Any, str], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
