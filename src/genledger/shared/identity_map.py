"""Values for objects by what they are, not by what they equal, for as long as they live."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class IdentityMap(Generic[V]):
    """A weak mapping whose keys need be neither hashable nor unequal to each other."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], V]] = {}

    def get(self, key: Any) -> V | None:
        """Return the value of an object; `None` when it has none."""
        found = self._values.get(id(key))
        return found[1] if found is not None and found[0]() is key else None

    def set(self, key: Any, value: V) -> None:
        """Keep a value for an object. Raise `TypeError` for one that takes no weak references."""
        values, identity = self._values, id(key)
        self._values[identity] = weakref.ref(key, lambda _: values.pop(identity, None)), value

    def values(self) -> list[V]:
        """Return every value."""
        return [value for _, value in list(self._values.values())]

    def pop(self, key: Any) -> V | None:
        """Take the value of an object away, and return it."""
        value = self.get(key)
        self._values.pop(id(key), None)
        return value
