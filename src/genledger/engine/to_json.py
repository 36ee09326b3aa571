"""The typed objects of client libraries as plain JSON data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """JSON data in place of a typed object, or of a list of them; anything else as it is.

    A protobuf message becomes its fields that are set, by their names in the `.proto` file. Enums become the names
    of their values, as in protobuf's own JSON; integers of 64 bits stay integers, which they do not there.
    """
    if hasattr(value, "ListFields"):
        return {field.name: _field(field, inner) for field, inner in value.ListFields()}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", exclude_unset=True, warnings=False)
    return value


def _field(field: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if field.enum_type is None:
        return plain(value)
    names = field.enum_type.values_by_number
    # A value that is newer than the client has no name there.
    named = [names[one].name if one in names else one for one in ([value] if isinstance(value, int) else value)]
    return named[0] if isinstance(value, int) else named
