"""An application that knows nothing of us, or one line of us: the same calls at Langfuse and at a collector."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.demo.provider import DemoProvider

from genledger_semconv.checker import check

from ..genledger.applications import REPOSITORY, rows, run
from ..standins.receivers import Collector, Langfuse, Receiver
from .received import metrics_of, readable

TEN_LINES = REPOSITORY / "examples" / "ten_lines.py"
LAUNCHER = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)
SPANS = {"chat gpt-4.1-mini", "chat gpt-5-mini", "embeddings text-embedding-3-small"}


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with Collector() as receiver:
        yield receiver


@pytest.fixture
def langfuse() -> Iterator[Langfuse]:
    receiver = Langfuse()
    with receiver:
        yield receiver


def application() -> str:
    """The example, as it stands."""
    return f"import sys\nsys.path.insert(0, {str(TEN_LINES.parent)!r})\n{TEN_LINES.read_text()}"


def to_langfuse(langfuse: Langfuse) -> dict[str, str]:
    return {
        "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
        "LANGFUSE_SECRET_KEY": langfuse.secret_key,
        "LANGFUSE_BASE_URL": langfuse.base_url,
        "GENLEDGER_SPOOL": "off",
    }


def to_both(collector: Receiver, langfuse: Langfuse) -> dict[str, str]:
    return {
        **to_langfuse(langfuse),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base_url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_PYTHON_DISTRO": "genledger",
    }


@pytest.mark.parametrize("way", ["launcher", "one line"])
def test_an_application_of_ten_lines_delivers_the_same_calls_to_a_collector_and_to_langfuse(
    way: str, tmp_path: Path, collector: Receiver, langfuse: Langfuse
) -> None:
    variables = to_both(collector, langfuse)
    if way == "launcher":
        done = run(tmp_path, application(), *LAUNCHER, **variables)
    else:
        done = run(tmp_path, f"import genledger\ngenledger.instrument()\n{application()}", **variables)
    assert "Say hello to a ledger." in done.stdout
    assert done.stderr == ""

    # The same calls at both, each once.
    assert set(collector.by_name()) == SPANS
    assert collector.counts() == langfuse.counts()
    assert set(collector.counts().values()) == {1}

    # Clean conventions at one ...
    spans, metrics = readable(collector.spans()), metrics_of(collector)
    assert check(spans, metrics) == []
    assert not [name for span in spans for name in span.attributes or {} if name.startswith("langfuse")]
    assert {request.path for request in collector.requests} == {"/v1/traces", "/v1/metrics"}
    names = {m.name for r in metrics.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert {"genledger.cost", "gen_ai.client.inference.duration", "gen_ai.client.operation.duration"} <= names

    # ... and Langfuse's own words at the other, about the same money.
    told = langfuse.by_name()
    for name, sent in collector.by_name().items():
        there = told[name].attributes
        assert there["langfuse.observation.type"] == ("embedding" if "embedding" in name else "generation")
        cost = json.loads(there["langfuse.observation.cost_details"])
        usage = json.loads(there["langfuse.observation.usage_details"])
        assert cost["total"] == pytest.approx(sent.attributes["genledger.cost.amount"])
        assert usage["input"] == sent.attributes["gen_ai.usage.input_tokens"]
        assert there["langfuse.observation.model.name"] == sent.attributes["gen_ai.response.model"]
        assert not [key for key in there if key.startswith(("genledger.", "gen_ai.usage."))]
    assert {request.path for request in langfuse.requests} == {"/api/public/otel/v1/traces"}


STOCK = """
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator()._configure(auto_instrumentation_version="0")
_load_instrumentors(DefaultDistro())
"""
"""What `opentelemetry-instrument` does with the stock distribution's configurator."""


def test_instrumentors_and_exporters_work_under_the_stock_distribution(tmp_path: Path, langfuse: Langfuse) -> None:
    done = run(
        tmp_path,
        STOCK + application(),
        OTEL_TRACES_EXPORTER="langfuse,ledger",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        GENLEDGER_LEDGER=str(tmp_path / "ledger.db"),
        **to_langfuse(langfuse),
    )
    assert "Say hello to a ledger." in done.stdout
    told = langfuse.by_name()
    assert set(told) == SPANS
    kept = rows(tmp_path / "ledger.db")
    assert {(row["trace_id"], row["span_id"]) for row in kept} == set(langfuse.counts())
    costs = {sent.key[1]: json.loads(sent.attributes["langfuse.observation.cost_details"]) for sent in told.values()}
    for row in kept:
        assert row["cost_usd"] == pytest.approx(costs[row["span_id"]]["total"])
        assert row["cost_usd"] > 0


def test_with_instrument_in_the_application_the_stock_distributions_exporters_send_everything_once(
    tmp_path: Path, collector: Receiver
) -> None:
    done = run(
        tmp_path,
        f"{STOCK}\nimport genledger\ngenledger.instrument()\n{application()}",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="otlp",
        OTEL_LOGS_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT="true",
    )
    assert done.stderr == ""
    assert set(collector.by_name()) == SPANS
    assert set(collector.counts().values()) == {1}
    # One exporter of each signal: nothing else has sent anything.
    agents = {request.headers["user-agent"] for request in collector.requests}
    assert len(agents) == 1
    assert "genledger" not in agents
    assert {request.path for request in collector.requests} == {"/v1/traces", "/v1/metrics", "/v1/logs"}


CHOICES = [
    {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"},
    {"GENLEDGER_EXCLUDE": "anthropic, openai"},
    {"GENLEDGER_LIBRARIES": "anthropic"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: next(iter(choice)))
def test_the_launcher_leaves_out_what_is_disabled(choice: dict[str, str], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    variables = {"GENLEDGER_LEDGER": str(ledger), "OTEL_PYTHON_DISTRO": "genledger"}
    run(tmp_path, application(), *LAUNCHER, **choice, **variables)
    assert rows(ledger) == []


STOCK_TO_LEDGER = {"OTEL_TRACES_EXPORTER": "ledger", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: next(iter(choice)))
def test_the_stock_distribution_leaves_out_what_is_disabled(choice: dict[str, str], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    run(tmp_path, STOCK + application(), GENLEDGER_LEDGER=str(ledger), **STOCK_TO_LEDGER, **choice)
    assert not ledger.exists() or rows(ledger) == []


THEIRS = """
from opentelemetry import trace
usage = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4.1-mini",
         "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 13}
with trace.get_tracer("theirs").start_as_current_span("chat gpt-4.1-mini", attributes=usage):
    import openai
    client, hello = openai.OpenAI(), [{"role": "user", "content": "Hello"}]
    stream = client.chat.completions.create(model="gpt-4.1-mini", messages=hello, stream=True)
for _ in stream:
    pass
"""
"""Another instrumentation's span of a call, which ends before the stream does."""


@pytest.mark.parametrize("more", ["", "import genledger\ngenledger.instrument()"], ids=["", "with instrument()"])
@pytest.mark.parametrize("theirs_alone", [False, True])
def test_the_stock_distributions_ledger_has_a_call_once_beside_another_instrumentation(
    more: str, theirs_alone: bool, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.db"
    excluded = {"GENLEDGER_EXCLUDE": "openai"} if theirs_alone else {}
    with DemoProvider() as provider:
        run(
            tmp_path,
            STOCK + more + THEIRS,
            OPENAI_API_KEY="test",
            OPENAI_BASE_URL=provider.openai_url,
            GENLEDGER_LEDGER=str(ledger),
            **STOCK_TO_LEDGER,
            **excluded,
        )
    (call,) = rows(ledger)
    assert call["library"] == ("theirs" if theirs_alone else "genledger")
    assert call["cost_usd"] > 0


def test_the_application_has_the_last_word_about_what_a_launcher_has_instrumented(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    narrowed = f"{STOCK}\nimport genledger\ngenledger.instrument(libraries=['anthropic'])\n{application()}"
    run(tmp_path, narrowed, GENLEDGER_LEDGER=str(ledger), **STOCK_TO_LEDGER)
    assert rows(ledger) == []
    widened = f"{STOCK}\nimport genledger\ngenledger.instrument(exclude=[])\n{application()}"
    run(tmp_path, widened, GENLEDGER_LEDGER=str(ledger), GENLEDGER_EXCLUDE="openai", **STOCK_TO_LEDGER)
    assert len(rows(ledger)) == 3


def test_the_launcher_records_nothing_when_the_sdk_is_disabled(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    variables = {"GENLEDGER_LEDGER": str(ledger), "OTEL_PYTHON_DISTRO": "genledger"}
    done = run(tmp_path, application(), *LAUNCHER, OTEL_SDK_DISABLED="true", **variables)
    assert "Say hello to a ledger." in done.stdout
    assert not ledger.exists()


def test_an_option_shows_one_line_for_each_call_with_and_without_logging_in_the_application(tmp_path: Path) -> None:
    code = f"{application()}\nimport logging\nlogging.basicConfig(format='%(name)s|%(message)s')\n{application()}"
    done = run(tmp_path, code, *LAUNCHER, GENLEDGER_LOG_CALLS="true")
    lines = [line for line in done.stderr.splitlines() if "operation=" in line]
    assert [line.startswith("genledger.calls|") for line in lines] == [False] * 3 + [True] * 3
