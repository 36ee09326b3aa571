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
from datadog_api_client.v1.model.monitor import Monitor

from genledger.alerting.exports import export
from genledger.alerting.rules import KINDS, AlertFile, alert

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


KEYS: dict[str, dict[str, Any]] = {"spend": {"above": [10, 40]}}
LEFT_OUT = {"sound": {"pace", "regression", "growth", "new"}, "plain": {"regression", "growth", "new"}}
SHORT = {"over": "4h"}


def rules(form: str) -> AlertFile:
    kinds = [alert(kind=kind, form=form, name=kind, **KEYS.get(kind, {})) for kind in KINDS if kind != "silence"]
    return AlertFile(alert=[*kinds, alert(kind="silence", name="silence", form=form, **SHORT)])


@pytest.mark.parametrize("form", ["sound", "plain"])
def test_the_client_knows_all_of_a_monitor(form: str) -> None:
    exported = export("datadog", rules(form))
    assert exported.left_out.keys() == LEFT_OUT[form]
    assert len(exported.files) == len(KINDS) + 1 - len(LEFT_OUT[form])
    for text in exported.files.values():
        monitor = read(text, Monitor)
        assert list(unknown(monitor)) == []
        assert "$" not in monitor.query
        assert monitor.query.endswith(f"{monitor.options.thresholds.critical:g}")


def test_a_window_that_a_monitor_has_not_is_named_with_those_it_has() -> None:
    exported = export("datadog", AlertFile(alert=[alert(kind="errors", over="40m")]))
    (why,) = exported.left_out.values()
    assert "no window of 40m; write one of 5m, 10m" in why


def test_a_monitor_names_the_command_that_acts_and_the_one_that_undoes_it() -> None:
    (text,) = export("datadog", AlertFile(alert=[alert(kind="errors", tenant="each")])).files.values()
    message = json.loads(text)["message"]
    assert "genledger kill tenant={{genledger.tenant.id.name}} --for 1h" in message
    assert "genledger revive tenant={{genledger.tenant.id.name}}" in message
