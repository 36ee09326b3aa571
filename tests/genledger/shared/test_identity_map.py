from __future__ import annotations

import gc

from genledger.shared.identity_map import IdentityMap


class Equal:
    """Equal to every other one, and so not hashable."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal)


def test_equal_objects_have_values_of_their_own_for_as_long_as_they_live() -> None:
    values: IdentityMap[str] = IdentityMap()
    first, second = Equal(), Equal()
    values.set(first, "first")
    assert (values.get(first), values.get(second)) == ("first", None)
    values.set(second, "second")
    del first
    gc.collect()
    assert values.get(Equal()) is None
    assert values.pop(second) == "second"
    assert values.get(second) is None
