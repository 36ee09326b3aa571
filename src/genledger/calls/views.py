"""Plain JSON read by attribute, so that one reader serves typed responses and raw ones."""

from __future__ import annotations

from typing import Any


class View:
    """A JSON object whose fields are attributes; a field that is missing is `None`."""

    __slots__ = ("_data",)

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return viewed(self._data.get(name))


def viewed(value: Any) -> Any:
    """The same value, with JSON objects made readable by attribute."""
    if isinstance(value, dict):
        return View(value)
    if isinstance(value, list):
        return [viewed(item) for item in value]
    return value


def plain(value: Any) -> Any:
    """JSON data again: the opposite of `viewed`, also for the typed objects of client libraries."""
    if isinstance(value, View):
        return value._data
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_unset=True, warnings=False)
    return value
