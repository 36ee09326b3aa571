"""The typed objects of client libraries as plain JSON data."""

from __future__ import annotations

from typing import Any


def plain(value: Any) -> Any:
    """JSON data in place of a typed object, or of a list of them; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_unset=True, warnings=False)
    return value
