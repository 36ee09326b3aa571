from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from genledger.destinations.delivery.remote_destination import spool_directory
from genledger.destinations.delivery.spool import Spool
from genledger.doctor import Diagnosis, diagnose
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger

MakeEntry = Callable[..., CallRecord]
MakeDistribution = Callable[..., None]

_PREFIXES = ("OTEL_", "GENLEDGER_", "LANGFUSE_")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing configured, and the user's directories empty."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GENLEDGER_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", "memory:")
    monkeypatch.setenv("GENLEDGER_SPOOL", str(tmp_path / "spool"))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDistribution:
    """Makes distributions seem installed: their metadata is what doctor reads."""
    site = tmp_path / "site"

    def make(name: str, number: str, **groups: dict[str, str]) -> None:
        info = site / f"{name.replace('-', '_')}-{number}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        lines = [
            line
            for group, points in groups.items()
            for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))

    monkeypatch.syspath_prepend(str(site))
    return make


def said(found: Diagnosis, about: str, level: str) -> str:
    return "\n".join(one.message for one in found.findings if (one.about, one.level) == (about, level))


def test_an_ordinary_environment_is_fine() -> None:
    found = diagnose()
    assert found.ok
    openai = next(library for library in found.libraries if library.name == "openai")
    assert (openai.version, openai.supported, openai.recorded) == (version("openai"), True, True)
    assert openai.patched is None
    assert (found.distro.loaded, found.configurator.loaded) == ("genledger", "genledger")
    assert [(one.name, one.answers) for one in found.destinations] == [("ledger", True)]
    assert found.prices.table_date > "2026-01-01"


def test_no_client_library_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("openai", "anthropic", "chromadb")
    for module in [one for one in sys.modules if one.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, module)
    diagnose()
    assert not [one for one in sys.modules if one in names]


def test_importing_shows_what_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LIBRARIES", "openai")
    libraries = {library.name: library for library in diagnose(import_libraries=True).libraries}
    assert {"SyncAPIClient.request", "AsyncAPIClient.request"} <= set(libraries["openai"].patched or ())
    assert libraries["openai"].missing == []
    assert libraries["anthropic"].patched is None


def test_what_cannot_be_patched_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other" / "openai"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "_base_client.py").write_text("class SyncAPIClient:\n    def request(self): ...\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("GENLEDGER_LIBRARIES", "openai")
    found = diagnose(import_libraries=True)
    openai = next(library for library in found.libraries if library.name == "openai")
    assert openai.patched == ["SyncAPIClient.request"]
    assert openai.missing == ["AsyncAPIClient.request"]
    assert not openai.recorded
    assert "AsyncAPIClient.request could not be patched" in said(found, "openai", "wrong")


def test_a_library_that_cannot_be_imported_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "other" / "openai"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('built for another system')")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("GENLEDGER_LIBRARIES", "openai")
    found = diagnose(import_libraries=True)
    assert "RuntimeError: built for another system" in said(found, "openai", "wrong")
    assert not next(library for library in found.libraries if library.name == "openai").recorded


def test_an_unsupported_version_is_wrong(install: MakeDistribution) -> None:
    install("anthropic", "0.3.1")
    found = diagnose()
    anthropic = next(library for library in found.libraries if library.name == "anthropic")
    assert (anthropic.version, anthropic.supported, anthropic.own_spans) == ("0.3.1", False, False)
    assert "0.3.1 is not supported" in said(found, "anthropic", "wrong")
    assert not found.ok


def test_the_librarys_own_spans_are_known() -> None:
    own = {library.name: library.own_spans for library in diagnose().libraries}
    assert own["anthropic"]
    assert not own["openai"]


@pytest.mark.parametrize("variable", ["GENLEDGER_EXCLUDE", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"])
def test_an_excluded_library_is_not_recorded(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "chromadb, openai")
    found = {library.name: library for library in diagnose().libraries}
    assert (found["openai"].recorded, found["openai"].excluded_by) == (False, variable)
    assert found["anthropic"].recorded


def test_a_library_that_is_not_supported_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LIBRARIES", "openai,nonesuch")
    found = diagnose()
    assert "nonesuch" in said(found, "libraries", "wrong")
    recorded = [library.name for library in found.libraries if library.recorded]
    assert recorded == ["openai"]


def test_another_vendors_instrumentor_is_found_once(install: MakeDistribution) -> None:
    point = {"openai": "elsewhere:Instrumentor"}
    install("openinference-instrumentation-openai", "0.1.66", opentelemetry_instrumentor=point,
            openinference_instrumentor=point)  # fmt: skip
    install("openlit", "1.45.0")
    found = diagnose()
    libraries = {library.name: library for library in found.libraries}
    tracers = {(one.distribution, one.version) for one in libraries["openai"].also_traced_by}
    assert {("openinference-instrumentation-openai", "0.1.66"), ("openlit", "1.45.0")} <= tracers
    assert ("openlit", "1.45.0") in {(one.distribution, one.version) for one in libraries["chromadb"].also_traced_by}
    assert said(found, "openai", "note").count("openinference-instrumentation-openai") == 1
    assert found.ok


def test_two_distros_are_left_to_chance_until_one_is_named(
    install: MakeDistribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(
        "opentelemetry-distro",
        "0.66b2",
        opentelemetry_distro={"distro": "elsewhere:Distro"},
        opentelemetry_configurator={"configurator": "elsewhere:Configurator"},
    )
    found = diagnose()
    assert (found.distro.loaded, found.distro.chance) == (None, True)
    assert found.distro.installed == {"distro": "opentelemetry-distro", "genledger": "genledger"}
    assert "OTEL_PYTHON_DISTRO=genledger" in said(found, "launcher", "wrong")
    assert "OTEL_PYTHON_CONFIGURATOR=genledger" in said(found, "launcher", "wrong")
    monkeypatch.setenv("OTEL_PYTHON_DISTRO", "genledger")
    monkeypatch.setenv("OTEL_PYTHON_CONFIGURATOR", "configurator")
    found = diagnose()
    assert (found.distro.loaded, found.configurator.loaded, found.ok) == ("genledger", "configurator", True)
    assert "OTEL_PYTHON_CONFIGURATOR=configurator" in said(found, "launcher", "note")


def test_a_distro_that_is_not_there_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_DISTRO", "genleger")
    found = diagnose()
    assert (found.distro.loaded, found.distro.chance) == (None, False)
    assert "genleger is not an installed distro" in said(found, "launcher", "wrong")


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    """Answers as its `status` says."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("status", "problem"), [(200, None), (401, "401"), (503, "503")])
def test_destinations_are_asked_whether_they_answer(
    status: int, problem: str | None, receiver: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.status = status  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{receiver.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-public")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-very-secret")
    monkeypatch.setenv("LANGFUSE_BASE_URL", url)
    found = diagnose()
    states = {one.name: one for one in found.destinations}
    assert set(states) == {"langfuse", "otlp"}
    for name, path in (("langfuse", "/api/public/otel/v1/traces"), ("otlp", "/v1/traces")):
        assert states[name].address == f"{url}{path}"
        assert states[name].answers is (problem is None)
        assert (problem or "") in said(found, name, "wrong")
    assert found.ok is (problem is None)
    assert "very-secret" not in repr(found)


def test_a_destination_that_does_not_answer_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    found = diagnose(timeout=2.0)
    assert [one.answers for one in found.destinations] == [False]
    assert "connection refused" in said(found, "otlp", "wrong")


def test_an_exporter_by_name_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console,ledger")
    found = diagnose()
    assert {one.name: one.answers for one in found.destinations} == {"console": None, "ledger": True}
    assert found.ok


def test_another_configurators_exporters_are_said_to_come_first(
    install: MakeDistribution, receiver: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("opentelemetry-distro", "0.66b2", opentelemetry_configurator={"configurator": "elsewhere:Configurator"})
    monkeypatch.setenv("OTEL_PYTHON_CONFIGURATOR", "configurator")
    assert "the same address as" not in said(diagnose(), "launcher", "note")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}")
    assert "the same address as otlp: nothing is sent twice" in said(diagnose(), "launcher", "note")
    monkeypatch.setenv("OTEL_PYTHON_CONFIGURATOR", "genledger")
    assert not said(diagnose(), "launcher", "note")


def test_half_configured_langfuse_and_an_unknown_destination_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-public")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nonesuch")
    found = diagnose()
    assert {one.name: one.answers for one in found.destinations} == {"nonesuch": False, "langfuse": False}
    assert "LANGFUSE_SECRET_KEY is not set" in said(found, "destinations", "wrong")
    assert "unknown destination" in said(found, "destinations", "wrong")


def test_spans_that_would_reach_langfuse_twice_are_pointed_out(
    receiver: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}"
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-lf-public")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-very-secret")
    monkeypatch.setenv("LANGFUSE_BASE_URL", url)
    assert diagnose().ok
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{url}/api/public/otel")
    assert "it sends to the same address as the destination langfuse" in said(diagnose(), "destinations", "wrong")
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    assert not said(diagnose(), "langfuse", "wrong")


def test_the_ledger_and_its_unpriced_calls_are_shown(tmp_path: Path, make_entry: MakeEntry) -> None:
    path = tmp_path / "ledger.db"
    Ledger(path).write([make_entry(), make_entry(None), make_entry(None, response_model="mine-7b")])
    found = diagnose()
    assert (found.ledger.path, found.ledger.exists, found.ledger.calls) == (str(path), True, 3)
    assert found.ledger.unpriced == {"unknown_model": 2}
    assert (found.ledger.last_call or "").startswith("2026-09-21T")
    assert found.ledger.size_bytes > 0
    assert "2 of 3 calls are unpriced" in said(found, "ledger", "note")
    assert "mine-7b" in said(found, "ledger", "note")
    assert found.ok


def test_a_ledger_that_cannot_be_used_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database" * 100)
    found = diagnose()
    assert "file is not a database" in said(found, "ledger", "wrong")
    assert [one.answers for one in found.destinations] == [False]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a matter of Unix")
def test_a_write_is_tried_where_records_and_budgets_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    (tmp_path / "budgets.toml").write_text('[[budget]]\nusd = 5\nper = "day"\n')
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(tmp_path / "budgets.toml"))
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", str(tmp_path / "budgets.db"))
    monkeypatch.setenv("GENLEDGER_DESTINATIONS", "ledger,otlp")
    assert {finding.about for finding in diagnose().findings} == {"otlp"}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # as if the disk were full: what is there can be read
    try:
        found = diagnose()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {finding.about for finding in found.findings} == {"ledger", "spool", "budgets", "otlp"}
    assert "GENLEDGER_LEDGER" in said(found, "ledger", "wrong")
    assert "GENLEDGER_SPOOL" in said(found, "spool", "wrong")
    assert "budgets.db" in said(found, "budgets", "wrong")


def test_a_ledger_that_is_no_destination_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    found = diagnose()
    assert (found.ledger.exists, found.destinations) == (False, [])
    assert not (tmp_path / "ledger.db").exists()


def test_files_of_prices_and_budgets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prices, budgets = tmp_path / "prices.toml", tmp_path / "budgets.toml"
    prices.write_text('[[price]]\nmodel = "mine-7b"\nfree = true\n')
    budgets.write_text('[[budget]]\nname = "daily"\ntenant = "each"\nusd = 5\nper = "day"\n')
    monkeypatch.setenv("GENLEDGER_PRICES", str(prices))
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(budgets))
    found = diagnose()
    assert (found.prices.file, found.prices.own_prices) == (str(prices), 1)
    assert (found.budgets.file, found.budgets.rules, found.budgets.answers) == (str(budgets), 1, True)
    assert found.ok
    prices.write_text('[[price]]\nmodle = "mine-7b"\n')
    budgets.write_text('[[budget]]\nname = "daily"\nusd = "much"\nper = "day"\n')
    found = diagnose()
    assert f"{prices}:2" in said(found, "prices", "wrong")
    assert f"{budgets}:3" in said(found, "budgets", "wrong")


def test_a_budget_store_that_does_not_answer_is_wrong_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", "redis://:very-secret@127.0.0.1:9/0")
    found = diagnose()
    assert (found.budgets.store, found.budgets.answers) == ("redis://127.0.0.1:9/0", False)
    assert said(found, "budgets", "wrong")
    assert "very-secret" not in repr(found)


@pytest.mark.parametrize(
    "address",
    [
        "redis://127.0.0.1:9/0?password=very-secret",
        "redis://127.0.0.1:9/0?api_key=very-secret",
        "redis://user:very-secret@127.0.0.1:9/0?db=very",
        "redis://user:very-secret/2@127.0.0.1:9/0",
        "redis://127.0.0.1:9/0?health_check_interval=never&password=very-secret",
        "mysql://user:very-secret@127.0.0.1/budgets",
        "mysql://127.0.0.1/budgets?token=very-secret",
    ],
)
def test_no_form_of_a_store_s_address_shows_its_secrets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    monkeypatch.setenv("GENLEDGER_BUDGET_STORE", address)
    found = diagnose()
    assert found.budgets.answers is False
    assert said(found, "budgets", "wrong")
    assert "127.0.0.1" in found.budgets.store
    assert "very-secret" not in repr(found)


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9/?token=very-secret"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:very-secret@127.0.0.1:9"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://127.0.0.1:9/?token=very-secret"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317/x?token=very-secret"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": "very-secret"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": "a=very-secret\x01"},
        {"GENLEDGER_DESTINATIONS": "https://user:very-secret@127.0.0.1"},
        {"GENLEDGER_LOG": "https://127.0.0.1?key=very-secret"},
        {
            "LANGFUSE_BASE_URL": "ftp://127.0.0.1?auth=very-secret",
            "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
            "LANGFUSE_SECRET_KEY": "sk-lf-very-secret",
        },
    ],
)
def test_no_address_of_a_destination_shows_its_secrets(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = diagnose(timeout=0.5)
    assert not found.ok
    assert "very-secret" not in repr(found)


def test_mistakes_in_alert_rules_are_named_and_stop_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "budgets.toml"
    monkeypatch.setenv("GENLEDGER_BUDGETS", str(path))
    path.write_text('[[budget]]\nusd = 5\nper = "day"\n[[alert]]\nkind = "spikes"\n')
    found = diagnose()
    assert f"{path}:5: kind: expected 'spike'" in said(found, "alerts", "wrong")
    assert found.budgets.rules == 1
    path.write_text(
        '[[alert]]\nkind = "spike"\n[[alerts.webhook]]\nurl = "http://127.0.0.1"\nsecret_env = "NOT_THERE"\n'
    )
    assert "needs its secret in NOT_THERE; set it" in said(diagnose(), "alerts", "wrong")


def test_wrong_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENLEDGER_LEGER", "x")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    found = diagnose()
    assert "did you mean GENLEDGER_LEDGER?" in said(found, "settings", "wrong")
    assert "no call is recorded" in said(found, "settings", "wrong")


def test_what_waits_in_the_spool_is_counted(tmp_path: Path) -> None:
    assert diagnose().spool.records == 0
    directory = spool_directory(spool=tmp_path / "spool")
    assert directory is not None
    Spool(directory, "langfuse").put(b"12345", 2)
    Spool(directory, "otlp").put(b"1", 1)
    spool = diagnose().spool
    assert (spool.path, spool.records, spool.size_bytes) == (str(directory / "spool.db"), 3, 6)
