"""Datadog's own client reads the files, and knows every field and value in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client import Configuration
from datadog_api_client.model_utils import ModelComposed, ModelNormal, validate_and_convert_types
from datadog_api_client.v1.model.dashboard import Dashboard

FILES = sorted((Path(__file__).parents[2] / "dashboards" / "datadog").glob("*.json"))


def unknown(value: Any, path: str = "") -> Iterator[str]:
    """Where the client took something that it does not know."""
    if getattr(value, "_unparsed", False):
        yield f"{path}: unparsed"
    if isinstance(value, ModelComposed):
        yield from unknown(value.get_oneof_instance(), path)
    elif isinstance(value, ModelNormal):
        known = type(value).openapi_types
        for name, inner in value._data_store.items():
            if name not in known:
                yield f"{path}.{name}: no such field"
            yield from unknown(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from unknown(inner, f"{path}[{number}]")


def read(text: str, model: type[Any]) -> Any:
    return validate_and_convert_types(json.loads(text), (model,), ["file"], True, True, Configuration())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_client_knows_all_of_a_dashboard(file: Path) -> None:
    found = read(file.read_text("utf-8"), Dashboard)
    assert list(unknown(found)) == []
    assert found.widgets


@pytest.mark.parametrize("broken", [('"toplist"', '"top_list"'), ('"layout_type"', '"layouttype"'), ('"asc"', '"up"')])
def test_a_mistake_would_be_found(broken: tuple[str, str]) -> None:
    text = next(file for file in FILES if file.stem == "tenants").read_text("utf-8").replace('"desc"', '"asc"')
    assert broken[0] in text
    try:
        assert list(unknown(read(text.replace(*broken), Dashboard)))
    except (TypeError, ValueError):
        pass
