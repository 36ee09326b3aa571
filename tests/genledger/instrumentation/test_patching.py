"""Patches: applied lazily, restored by identity, in the company of others; and faults that stay ours."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import genledger
from genledger.engine.operation import Endpoint, Operation
from genledger.engine.recorder import Recorder, activate
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.patching import Patch, Patcher, held
from genledger.shared import internal_errors

SOURCE = """
class Base:
    def inherited(self):
        return "inherited"

class Client(Base):
    def call(self, a, b=2):
        return a + b

    @staticmethod
    def static(a):
        return a

    async def acall(self, a):
        if a < 0:
            raise ValueError("negative")
        return a

class Holder:
    def __init__(self):
        self.double = lambda a: 2 * a
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a client library that can be imported."""
    name = f"client_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def loaded(name: str) -> Any:
    return importlib.import_module(name)


def plus_ten(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs) + 10


@pytest.mark.parametrize("first", ["import", "patch"])
def test_a_patch_applies_now_or_when_the_library_is_imported(first: str, module: str) -> None:
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    if first == "import":
        loaded(module)
    patcher.apply()
    assert (module in sys.modules) is (first == "import")
    assert loaded(module).Client().call(1) == 13
    assert patcher.patched == ["Client.call"]
    patcher.restore()


def test_a_module_that_calls_itself_something_else_is_patched_by_the_name_that_it_is_imported_by(module: str) -> None:
    loaded(module).__name__ = "another"
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    patcher.apply()
    assert loaded(module).Client().call(1) == 13
    patcher.restore()


@pytest.mark.parametrize("first", ["import", "patch"])
@pytest.mark.parametrize("again", ["removed and imported", "reloaded"])
def test_a_library_that_is_imported_again_is_patched_again(first: str, again: str, module: str) -> None:
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    if first == "import":
        loaded(module)
    patcher.apply()
    loaded(module)
    for _ in range(2):
        if again == "reloaded":
            importlib.reload(sys.modules[module])
        else:
            del sys.modules[module]
        assert loaded(module).Client().call(1) == 13
    patcher.restore()
    assert loaded(module).Client().call(1) == 3


def test_applying_twice_is_applying_once_and_restoring_gives_back_the_very_attribute(module: str) -> None:
    client = loaded(module).Client
    before = dict(vars(client))
    names = ("call", "inherited", "static")
    patcher = Patcher([Patch(module, f"Client.{name}", plus_ten) for name in names])
    patcher.apply()
    patcher.apply()
    assert (client().call(1), client.static(1), client().static(1)) == (13, 11, 11)
    patcher.restore()
    assert dict(vars(client)) == before
    assert all(vars(client)[name] is value for name, value in before.items())
    assert "inherited" not in vars(client)
    patcher.restore()
    assert client().call(1) == 3


def test_a_library_imported_after_restoring_is_left_alone(module: str) -> None:
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    patcher.apply()
    patcher.restore()
    assert loaded(module).Client().call(1) == 3


def test_a_patch_of_somebody_else_on_top_of_ours_is_not_removed(module: str) -> None:
    client = loaded(module).Client
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    patcher.apply()
    ours = client.call

    def theirs(self: Any, *args: Any) -> Any:
        return -ours(self, *args)

    client.call = theirs
    patcher.restore()
    assert client.call is theirs
    client.call = ours


def test_a_patch_that_somebody_else_took_off_and_put_back_is_restored_and_applied_once(module: str) -> None:
    client = loaded(module).Client
    before = vars(client)["call"]
    patcher = Patcher([Patch(module, "Client.call", plus_ten)])
    patcher.apply()
    ours = client.call  # what the class gives, which is not what it has
    client.call = lambda *args: 0
    client.call = ours
    patcher.apply()
    assert client().call(1) == 13
    patcher.restore()
    assert vars(client)["call"] is before


def test_what_a_version_does_not_have_is_a_warning_unless_it_is_optional(
    module: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded(module)
    Patcher([Patch(module, "Client.absent", plus_ten, optional=True)]).apply()
    assert caplog.records == []
    Patcher([Patch(module, "Client.absent", plus_ten), Patch(module, "Gone.call", plus_ten)]).apply()
    assert "Client.absent" in caplog.text
    assert "Gone.call" in caplog.text


def test_a_patch_can_give_way_to_another_attribute(module: str) -> None:
    client = loaded(module).Client
    Patcher([Patch(module, "Client.call", plus_ten, unless="Base")]).apply()
    assert client().call(1) == 3


# Faults


def test_a_fault_is_counted_each_time_and_warned_about_once_in_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("genledger.shared.internal_errors.time.monotonic", lambda: now[0])
    before = internal_errors.counts().get("a stage", 0)
    for _ in range(5):
        internal_errors.report("a stage", ValueError("boom"))
    assert internal_errors.counts()["a stage"] == before + 5
    assert len(caplog.records) == 1
    assert "a stage (ValueError: boom)" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING
    internal_errors.report("another stage", ValueError("boom"))
    assert len(caplog.records) == 2
    now[0] += internal_errors.INTERVAL_S
    internal_errors.report("a stage", ValueError("boom"))
    assert len(caplog.records) == 3


# Ordinary methods


class Store:
    def call(self, a: int, b: int = 2) -> int:
        if a < 0:
            raise ValueError("negative")
        return a + b

    async def acall(self, a: int) -> int:
        if a < 0:
            raise ValueError("negative")
        return a


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    activate(Recorder(provider.get_tracer("genledger")))
    yield exporter
    activate(None)


@pytest.fixture
def patched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    fake = ModuleType("fake_store")
    fake.Store = Store  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_store", fake)
    applied: list[Patcher] = []

    def patch(endpoint: Any = None, body: Any = None) -> None:
        operation = Operation("get", "get", priced=False, family="db", target=lambda attributes: "things")
        methods = Methods(
            "fake",
            {"fake_store": "Store"},
            {"call": operation, "acall": operation},
            endpoint or (lambda store, given: Endpoint("fake")),
            body or (lambda store, given: given),
        )
        applied.append(Patcher(methods.patches()))
        applied[-1].apply()

    yield patch
    for patcher in reversed(applied):
        patcher.restore()


async def test_a_method_is_one_span_and_gives_what_it_gave(patched: Any, exporter: InMemorySpanExporter) -> None:
    seen: list[dict[str, Any]] = []

    def body(store: Store, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(given)
        return given

    patched(body=body)
    with genledger.attribution(tenant="acme"):
        assert Store().call(1, b=5) == 6
        assert Store().call(1, 5) == 6
        assert await Store().acall(3) == 3
    assert [given["b"] for given in seen[:2]] == [5, 5]
    assert [span.name for span in exporter.get_finished_spans()] == ["get things"] * 3
    assert {(span.attributes or {})["genledger.tenant.id"] for span in exporter.get_finished_spans()} == {"acme"}


async def test_an_error_of_a_method_is_the_applications_own(patched: Any, exporter: InMemorySpanExporter) -> None:
    patched()
    with pytest.raises(ValueError, match="negative"):
        Store().call(-1)
    with pytest.raises(ValueError, match="negative"):
        await Store().acall(-1)
    assert [(span.attributes or {})["error.type"] for span in exporter.get_finished_spans()] == ["ValueError"] * 2


async def test_a_description_that_fails_leaves_the_call_alone(patched: Any, exporter: InMemorySpanExporter) -> None:
    def failing(*args: Any) -> Any:
        raise RuntimeError("ours")

    patched(endpoint=failing)
    before = internal_errors.counts().get("opening a call", 0)
    assert Store().call(1) == 3
    assert await Store().acall(1) == 1
    assert internal_errors.counts()["opening a call"] == before + 2
    assert exporter.get_finished_spans() == ()


async def test_nothing_is_recorded_where_instrumentation_is_suppressed_or_off(
    patched: Any, exporter: InMemorySpanExporter
) -> None:
    patched()
    with suppress_instrumentation():
        assert Store().call(1) == 3
        assert await Store().acall(1) == 1
    activate(None)
    assert Store().call(1) == 3
    assert exporter.get_finished_spans() == ()


def test_a_function_that_each_object_has_is_patched_in_objects_that_exist_and_that_come(module: str) -> None:
    holder = loaded(module).Holder
    before, attributes = holder(), dict(vars(holder))
    patcher = Patcher([held(module, "Holder", "double", plus_ten), held(module, "Absent", "double", plus_ten)])
    patcher.apply()
    after, own = holder(), before.__dict__["double"]
    assert (before.double(1), after.double(1)) == (12, 12)
    after.double = own
    assert (after.double(1), after.__dict__["double"]) == (12, own)
    del after.double
    assert not hasattr(after, "double")
    patcher.restore()
    assert (before.double(1), before.double) == (2, own)
    assert dict(vars(holder)) == attributes
