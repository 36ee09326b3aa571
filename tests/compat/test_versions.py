"""What holds for both SDKs: their versions are supported, and uninstrumenting puts back what was there."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import entry_points, version
from typing import Any

import pytest
from packaging.requirements import Requirement

from genledger.instrumentation.instrumentor import Instrumentor
from genledger.setup.load_instrumentors import INSTRUMENTORS, patched

from ..instrumentors.telemetry import instrumented


@pytest.fixture(params=["openai", "anthropic"])
def instrumentor(request: pytest.FixtureRequest) -> Instrumentor:
    """The instrumentor of each SDK."""
    (point,) = (one for one in entry_points(group=INSTRUMENTORS, name=request.param) if "genledger" in one.module)
    return point.load()()


def attributes(modules: set[str]) -> dict[tuple[str, str], Any]:
    """Every attribute of every class in these modules, as far as there are such modules."""
    found: dict[tuple[str, str], Any] = {}
    for name in modules:
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            continue
        for owner in vars(module).values():
            if inspect.isclass(owner) and owner.__module__ == name:
                found.update({(owner.__qualname__, key): value for key, value in vars(owner).items()})
        found.update({("", key): value for key, value in vars(module).items() if inspect.isfunction(value)})
    return found


def test_this_version_is_supported(instrumentor: Instrumentor) -> None:
    assert Requirement(instrumentor.supports).specifier.contains(version(instrumentor.distribution))


def test_uninstrument_puts_back_the_very_attributes(instrumentor: Instrumentor) -> None:
    modules = {patch.module for patch in instrumentor.patches()}
    before = attributes(modules)
    with instrumented() as telemetry:
        inside = attributes(modules)
        changed = {key for key, value in before.items() if inside.get(key) is not value}
        assert {("SyncAPIClient", "request"), ("AsyncAPIClient", "request")} <= changed
        assert not telemetry.complaints.texts
    after = attributes(modules)
    assert after.keys() == before.keys()
    assert [key for key, value in before.items() if after[key] is not value] == []
    assert not patched()
