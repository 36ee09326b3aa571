"""Who is measured, and how each is switched on, as its own documentation says.

The start functions run in the contender's environment, before any client is imported; they import what they need.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.environments import Environment
from benchmarks.sink import sink
from benchmarks.telemetry import SETTINGS, Setting, Telemetry

Start = Callable[[Telemetry], None]


@dataclass(frozen=True)
class Contender:
    """One way to instrument: where it runs, how it starts, and what it can switch."""

    key: str
    title: str
    environment: str
    start: Start
    settings: frozenset[str] = frozenset(SETTINGS)
    variables: Callable[[Setting], dict[str, str]] = field(default=lambda _setting: {})
    bare: str = "reference"
    """The environment whose uninstrumented calls are its measure."""
    sdk_spans: bool = False
    """Whether Anthropic's client also emits its own span: elsewhere it is told not to, so that nobody pays for two."""


def _nothing(_telemetry: Telemetry) -> None:
    """No instrumentation and no SDK."""


def _hand_written(telemetry: Telemetry) -> None:
    from benchmarks import hand_written

    telemetry.install()
    hand_written.trace_chat(telemetry.setting)
    hand_written.trace_responses(telemetry.setting)
    hand_written.trace_embeddings(telemetry.setting)
    hand_written.trace_messages(telemetry.setting)


def _hand_written_over_otlp(telemetry: Telemetry) -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    _hand_written(telemetry)
    telemetry.spans.then = OTLPSpanExporter()


def _otlp_variables(_setting: Setting) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": sink()}


THREE = ("openai", "anthropic", "chromadb")
"""The libraries of one who has them named, to compare with all that there are."""


def _genledger_with_three(telemetry: Telemetry) -> None:
    _genledger(telemetry, THREE)


def _genledger(telemetry: Telemetry, libraries: tuple[str, ...] | None = None) -> None:
    import genledger  # type: ignore[import-not-found,unused-ignore]

    telemetry.install()
    genledger.instrument(
        libraries=libraries,
        capture_content=telemetry.setting.content,
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        logger_provider=telemetry.logger_provider,
        destinations=["ledger"],
    )
    telemetry.others.append(lambda: genledger.flush(30))


def _genledger_variables(_setting: Setting) -> dict[str, str]:
    directory = tempfile.mkdtemp(prefix="genledger-bench-")
    return {"GENLEDGER_LEDGER": os.path.join(directory, "ledger.db")}


def _genledger_with_its_own_providers(telemetry: Telemetry) -> None:
    import genledger  # type: ignore[import-not-found,unused-ignore]

    genledger.instrument(capture_content=telemetry.setting.content)
    telemetry.others.append(lambda: genledger.flush(30))


def _two_destinations(setting: Setting) -> dict[str, str]:
    return {
        **_genledger_variables(setting),
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink(),
        "LANGFUSE_BASE_URL": sink(),
        "LANGFUSE_PUBLIC_KEY": "pk-lf-none",
        "LANGFUSE_SECRET_KEY": "sk-lf-none",
    }


def _genledger_by_the_launcher(telemetry: Telemetry) -> None:
    import genledger  # type: ignore[import-not-found,unused-ignore]

    telemetry.others.append(lambda: genledger.flush(30))


def _launcher_variables(setting: Setting) -> dict[str, str]:
    # `opentelemetry-instrument` starts a program with its folder on the path: a `sitecustomize` is in it.
    (folder,) = Environment("genledger").home.glob(
        "lib/*/site-packages/opentelemetry/instrumentation/auto_instrumentation"
    )
    return {
        **_two_destinations(setting),
        "PYTHONPATH": str(folder),
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY" if setting.content else "NO_CONTENT",
    }


def _sdk_own_span(telemetry: Telemetry) -> None:
    telemetry.install()


def _official(telemetry: Telemetry) -> None:
    from opentelemetry.instrumentation.genai.anthropic import (  # type: ignore[import-not-found,unused-ignore]
        AnthropicInstrumentor,
    )
    from opentelemetry.instrumentation.genai.openai import (  # type: ignore[import-not-found,unused-ignore]
        OpenAIInstrumentor,
    )

    telemetry.install()
    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def _official_variables(setting: Setting) -> dict[str, str]:
    return {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY" if setting.content else "NO_CONTENT"}


def _openai_v2(telemetry: Telemetry) -> None:
    from opentelemetry.instrumentation.openai_v2 import (  # type: ignore[import-not-found,unused-ignore]
        OpenAIInstrumentor,
    )

    telemetry.install()
    OpenAIInstrumentor().instrument()


def _openai_v2_variables(setting: Setting) -> dict[str, str]:
    return {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental", **_official_variables(setting)}


def _openinference(telemetry: Telemetry) -> None:
    from openinference.instrumentation.anthropic import (  # type: ignore[import-not-found,unused-ignore]
        AnthropicInstrumentor,
    )
    from openinference.instrumentation.openai import (  # type: ignore[import-not-found,unused-ignore]
        OpenAIInstrumentor,
    )

    telemetry.install()
    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def _openinference_variables(setting: Setting) -> dict[str, str]:
    return {} if setting.content else {"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"}


def _openlit(telemetry: Telemetry) -> None:
    import openlit  # type: ignore[import-not-found,unused-ignore]

    telemetry.install()
    # A price file of its own: without one OpenLIT fetches its table from the network at start.
    prices = Path(tempfile.mkdtemp(prefix="openlit-bench-")) / "prices.json"
    rates = {"promptPrice": 0.0025, "completionPrice": 0.01}
    models = ("gpt-4o", "gpt-4o-2024-08-06", "claude-sonnet-4-6")
    prices.write_text(json.dumps({"chat": dict.fromkeys(models, rates), "embeddings": {}}))
    openlit.init(
        capture_message_content=telemetry.setting.content,
        disable_metrics=not telemetry.setting.metrics,
        pricing_json=str(prices),
    )


def _logfire(recorded: Telemetry) -> None:
    import logfire  # type: ignore[import-not-found,unused-ignore]
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    readers = [PeriodicExportingMetricReader(recorded.points)]
    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        additional_span_processors=[BatchSpanProcessor(recorded.spans)],
        metrics=logfire.MetricsOptions(additional_readers=readers) if recorded.setting.metrics else False,
    )
    logfire.instrument_openai()
    logfire.instrument_anthropic()


def _langfuse(telemetry: Telemetry) -> None:
    from langfuse import Langfuse  # type: ignore[import-not-found,unused-ignore]

    telemetry.install(batch=False)
    Langfuse(
        public_key="pk-lf-none",
        secret_key="sk-lf-none",
        base_url="http://127.0.0.1:9",
        tracer_provider=telemetry.tracer_provider,
        span_exporter=telemetry.spans,
    )
    import langfuse.openai  # type: ignore[import-not-found,unused-ignore]  # noqa: F401  (the wrapper is its import)


_ON_ONLY = frozenset({"on"})
_CONTENT = frozenset({"on", "content off"})

CONTENDERS: dict[str, Contender] = {
    contender.key: contender
    for contender in (
        Contender("nothing", "nothing", "reference", _nothing),
        Contender("hand-written", "hand-written span", "reference", _hand_written),
        Contender(
            "hand-written-otlp",
            "hand-written span, OTLP",
            "reference",
            _hand_written_over_otlp,
            _CONTENT,
            variables=_otlp_variables,
        ),
        Contender("genledger", "Genledger", "genledger", _genledger, variables=_genledger_variables, sdk_spans=True),
        Contender(
            "genledger-three",
            "Genledger, three libraries",
            "genledger",
            _genledger_with_three,
            variables=_genledger_variables,
            sdk_spans=True,
        ),
        Contender(
            "genledger-own",
            "Genledger, its own providers, OTLP and Langfuse",
            "genledger",
            _genledger_with_its_own_providers,
            _CONTENT,
            variables=_two_destinations,
            sdk_spans=True,
        ),
        Contender(
            "genledger-launcher",
            "Genledger under opentelemetry-instrument",
            "genledger",
            _genledger_by_the_launcher,
            _CONTENT,
            variables=_launcher_variables,
            sdk_spans=True,
        ),
        Contender("sdk", "the Anthropic client's own span", "reference", _sdk_own_span, _ON_ONLY, sdk_spans=True),
        Contender("openai-v2", "OpenTelemetry openai-v2", "openai-v2", _openai_v2, variables=_openai_v2_variables),
        Contender(
            "official", "OpenTelemetry genai-openai, -anthropic", "official", _official, variables=_official_variables
        ),
        Contender(
            "openinference", "OpenInference", "openinference", _openinference, variables=_openinference_variables
        ),
        Contender("openlit", "OpenLIT", "openlit", _openlit, bare="openlit"),
        Contender("logfire", "Logfire", "logfire", _logfire, _ON_ONLY),
        Contender("langfuse", "Langfuse's OpenAI wrapper", "langfuse", _langfuse, _ON_ONLY),
    )
}

BARE = CONTENDERS["nothing"]
