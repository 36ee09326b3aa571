"""The model of a request that names none."""

from __future__ import annotations

from collections.abc import Callable

from genledger.engine.operation import Attributes, Body
from genledger_semconv import attributes as A


def default_model(name: str) -> Callable[[Body, Attributes], None]:
    """Return what names the model of a request that names none: the endpoint's documented default."""

    def read(body: Body, attributes: Attributes) -> None:
        attributes.setdefault(A.GEN_AI_REQUEST_MODEL, name)

    return read
