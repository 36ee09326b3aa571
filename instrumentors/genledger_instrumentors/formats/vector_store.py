"""Shared code of vector stores: a search is a retrieval, everything else a database access.

A store has no convention of its own: its calls are `db.*` spans, and a search is a `retrieval` as well (the
conventions allow both on one span).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from genledger.engine.operation import Attributes, Converter, Operation, text
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

DISTANCES = (
    A.GENLEDGER_RETRIEVAL_DISTANCE_MIN,
    A.GENLEDGER_RETRIEVAL_DISTANCE_MAX,
    A.GENLEDGER_RETRIEVAL_DISTANCE_MEAN,
)
SCORES = (A.GENLEDGER_RETRIEVAL_SCORE_MIN, A.GENLEDGER_RETRIEVAL_SCORE_MAX, A.GENLEDGER_RETRIEVAL_SCORE_MEAN)

Fields = Mapping[str, tuple[str, Converter]]


def search(system: str, name: str, fields: Fields, **options: Any) -> Operation:
    """Return the operation of a method that searches.

    Args:
        system: `db.system.name`.
        name: `db.operation.name`: the method.
        fields: Its arguments that become attributes.
        **options: Further arguments of `Operation`.
    """
    return Operation(
        name=S.RETRIEVAL,
        api=name,
        fields=fields,
        constant={A.DB_SYSTEM_NAME: system, A.DB_OPERATION_NAME: name},
        priced=False,
        family="retrieval",
        target=lambda attributes: text(attributes.get(A.GEN_AI_DATA_SOURCE_ID)),
        **options,
    )


def access(name: str, fields: Fields, **options: Any) -> Operation:
    """Return the operation of a method that reads or writes records, as `search` does."""
    return Operation(
        name=name,
        api=name,
        fields=fields,
        priced=False,
        family="db",
        target=lambda attributes: text(attributes.get(A.DB_COLLECTION_NAME)),
        **options,
    )


def write_count(items: Any, attributes: Attributes) -> None:
    """Write how many items one call carries, when it is known and more than one."""
    try:
        count = len(items)
    except TypeError:
        return
    if count > 1 and not isinstance(items, (str, bytes)):
        attributes[A.DB_OPERATION_BATCH_SIZE] = count


def write_spread(names: tuple[str, str, str], values: Iterable[Any], attributes: Attributes) -> None:
    """Write the least, the greatest and the mean of the numbers among some values, when there are any."""
    numbers = [float(value) for value in values if isinstance(value, Real)]
    if numbers:
        least, greatest, mean = names
        attributes[least] = min(numbers)
        attributes[greatest] = max(numbers)
        attributes[mean] = sum(numbers) / len(numbers)
