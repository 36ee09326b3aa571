"""Reading a field of a provider's answer, whatever the answer is made of.

An answer is JSON (dictionaries and lists) or an SDK's object with attributes, at every level. A field that
is absent, or that cannot be read, is `None`: nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from math import isfinite
from typing import Any

MOST = 10**12
"""No call consumes more than this of anything; a larger count is a fault of whoever reported it."""

_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")

_SCALARS = (str, bytes, bytearray, int, float, list, tuple, set, frozenset)


def field(obj: object, name: str) -> Any:
    """Return the value of key or attribute `name`, or `None`."""
    if type(obj) is dict:
        return obj.get(name)
    if obj is None:
        return None
    if type(obj) is _Object:
        return obj.get(name)
    try:
        # A typed object of a client library: asking it for a field that it lacks would take a microsecond.
        extra = obj.__pydantic_extra__  # type: ignore[attr-defined]
        value = obj.__dict__.get(name)
        return extra.get(name) if value is None and extra else value
    except Exception:
        pass
    try:
        if isinstance(obj, _SCALARS):
            return None
        if isinstance(obj, Mapping):
            return obj.get(name)
        return getattr(obj, name, None)
    except Exception:
        return None


class _Object:
    """An object whose fields are its attributes, to be read like a mapping."""

    __slots__ = ("_obj",)

    def __init__(self, obj: object) -> None:
        self._obj = obj

    def get(self, name: str) -> Any:
        return field(self._obj, name)

    def __iter__(self) -> Iterator[str]:
        yield "any field"


_NONE: dict[str, Any] = {}


def fields_of(obj: Any) -> Any:
    """Return an answer, or a part of one, as what has `get` and can be iterated: to be read many times.

    Its names show at once what it does not say, except for an object that has no list of its fields: that has one
    name, which is nobody's.
    """
    if type(obj) is dict:
        return obj
    try:
        extra = obj.__pydantic_extra__
        return {**obj.__dict__, **extra} if extra else obj.__dict__
    except Exception:
        pass
    try:
        if obj is None or isinstance(obj, _SCALARS):
            return _NONE
        return dict(obj) if isinstance(obj, Mapping) else _Object(obj)
    except Exception:
        return _NONE


def declared(obj: Any) -> Mapping[str, Any] | None:
    """Return the fields of a typed object, with slots or not; `None` for what declares none."""
    if hasattr(obj, "__pydantic_extra__"):
        return vars(obj)
    names = getattr(obj, "__dataclass_fields__", None)
    return None if names is None else {name: getattr(obj, name, None) for name in names}


def first(obj: object, *names: str) -> object:
    """Return the first of several spellings of a field that is present."""
    if obj is None:
        return None
    for name in names:
        value = field(obj, name)
        if value is not None:
            return value
    return None


def path(obj: object, *names: str) -> object:
    """Return the field at the end of a path of fields."""
    for name in names:
        if obj is None:
            return None
        obj = field(obj, name)
    return obj


def text(obj: object, *names: str) -> str | None:
    """Return the first of several fields that is a non-empty string."""
    for name in names:
        value = obj.get(name) if type(obj) is dict else field(obj, name)
        if isinstance(value, str) and value:
            return value
    return None


def label(obj: object, *names: str) -> str | None:
    """Like `text`, also for enumeration members, whose value counts."""
    value = first(obj, *names)
    if type(value) is str:
        return value or None
    if isinstance(value, Enum):
        value = value.value
    elif not isinstance(value, str):
        value = field(value, "value") if value is not None else None
    return str(value) if isinstance(value, str) and value else None


def items(obj: object, name: str) -> Iterator[object]:
    """Yield the elements of a field that is a list; nothing if it is not one."""
    value = field(obj, name)
    if isinstance(value, (list, tuple)):
        yield from value


def number(value: object) -> float | None:
    """Return a finite number that is not negative, or `None`. Decimals count, booleans and strings do not."""
    if value is None or isinstance(value, (bool, str, bytes)):
        return None
    try:
        as_float = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return as_float if isfinite(as_float) and as_float >= 0 else None


def duration(value: object) -> float | None:
    """Return seconds, also of a text of digits, or `None`."""
    return number(float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else value)


class Counts:
    """Reads counts and remembers whether one of them was impossible.

    Negative, fractional, infinite, absurdly large or wrongly typed counts are taken as absent and leave
    `inconsistent` set.
    """

    __slots__ = ("inconsistent",)

    def __init__(self) -> None:
        self.inconsistent = False

    def get(self, obj: object, *names: str) -> int | None:
        """Return the first of several spellings of a count that is present, or `None`."""
        if obj is None:
            return None
        for name in names:
            value = obj.get(name) if type(obj) is dict else field(obj, name)
            if value is not None:
                return value if type(value) is int and 0 <= value <= MOST else self._convert(value)
        return None

    def __call__(self, obj: object, *names: str) -> int:
        """Like `get`, with 0 for an absent count."""
        return 0 if obj is None else self.get(obj, *names) or 0

    def of(self, value: object) -> int:
        """Return a count, with 0 for an absent one."""
        if value is None:
            return 0
        return value if type(value) is int and 0 <= value <= MOST else self._convert(value) or 0

    def _convert(self, value: object) -> int | None:
        if isinstance(value, (int, float, str, bytes, list, tuple, Mapping)) or hasattr(value, "__float__"):
            amount = number(value)
            if amount is not None and amount <= MOST and amount == int(amount):
                return int(amount)
            self.inconsistent = True
        return None

    def clamp(self, part: int, whole: int) -> int:
        """`part`, but not more than the `whole` it is a part of."""
        if part > whole:
            self.inconsistent = True
            return max(whole, 0)
        return part
