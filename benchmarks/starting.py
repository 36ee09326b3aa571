"""What a start costs: milliseconds and modules, in many fresh processes, in turns."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.contenders import THREE
from benchmarks.environments import Environment, EnvironmentMissing
from benchmarks.results import Start

_SDK = """
from opentelemetry import _logs, metrics, trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
logger_provider = LoggerProvider()
logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
_logs.set_logger_provider(logger_provider)
"""

STARTS: dict[str, tuple[str, str]] = {
    "sdk": ("reference", _SDK),
    "genledger": ("genledger", "import genledger\ngenledger.instrument()\n"),
    "genledger-three": ("genledger", f"import genledger\ngenledger.instrument(libraries={THREE!r})\n"),
    "official": (
        "official",
        _SDK
        + "from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor\n"
        + "from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor\n"
        + "OpenAIInstrumentor().instrument()\nAnthropicInstrumentor().instrument()\n",
    ),
    "openinference": (
        "openinference",
        _SDK
        + "from openinference.instrumentation.openai import OpenAIInstrumentor\n"
        + "from openinference.instrumentation.anthropic import AnthropicInstrumentor\n"
        + "OpenAIInstrumentor().instrument()\nAnthropicInstrumentor().instrument()\n",
    ),
    "openlit": ("openlit", "import openlit\nopenlit.init(pricing_json='/dev/null')\n"),
    "logfire": (
        "logfire",
        "import logfire\nlogfire.configure(token='none', console=False)\n"
        "logfire.instrument_openai()\nlogfire.instrument_anthropic()\n",
    ),
    "langfuse": (
        "langfuse",
        "from langfuse import Langfuse\n"
        "Langfuse(public_key='pk-lf-none', secret_key='sk-lf-none', base_url='http://127.0.0.1:9')\n"
        "import langfuse.openai\n",
    ),
}
"""How each starts with its own documented lines, everything on, exporting over OTLP/HTTP to a dead port."""

_PROGRAM = """
import json, os, sys, time
before = set(sys.modules)
wall, cpu = time.perf_counter(), time.process_time()
{start}
{client}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
out = os.fdopen(int(sys.argv[1]), "w")
json.dump({{"cpu": cpu * 1e3, "wall": wall * 1e3, "modules": sorted(set(sys.modules) - before)}}, out)
out.flush()
os._exit(0)
"""

_CLIENTS = ("openai", "anthropic", "chromadb", "langchain", "cohere", "mistralai", "google.genai", "boto3")


def start_times(
    keys: list[str], runs: int, *, failed: Callable[[str, str], None], step: Callable[[], None]
) -> Iterator[Start]:
    """Start each `runs` times, with and without the OpenAI client imported afterwards."""
    seen: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="start-bench-") as directory:
        for run in range(runs + 1):
            for key in keys:
                for client in (False, True):
                    try:
                        result = _run(key, client, Path(directory))
                    except EnvironmentMissing as error:
                        failed(key, str(error))
                        continue
                    # The first run warms the file cache.
                    if run:
                        seen.setdefault((key, client), []).append(result)
            step()
    own = {client: set(seen["sdk", client][0]["modules"]) for client in (False, True) if ("sdk", client) in seen}
    for (key, client), results in seen.items():
        cpu = [result["cpu"] for result in results]
        low, _, high = quantiles(cpu, n=4) if len(cpu) > 1 else (cpu[0], cpu[0], cpu[0])
        modules = set(results[0]["modules"])
        more = Counter(name.partition(".")[0] for name in modules - own.get(client, set()))
        yield Start(
            key,
            client,
            min(cpu),
            median(cpu),
            median(result["wall"] for result in results),
            high - low,
            len(modules),
            [name for name in _CLIENTS if name in modules],
            dict(more.most_common(12)),
        )


def _run(key: str, client: bool, directory: Path) -> dict[str, Any]:
    name, start = STARTS[key]
    environment = Environment(name)
    if not environment.python.exists():
        raise EnvironmentMissing(f"environment bench-{name} is missing")
    program = _PROGRAM.format(start=start, client="import openai" if client else "")
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "XDG_STATE_HOME": str(directory),
    }
    with tempfile.TemporaryFile("w+") as answer:
        done = subprocess.run(
            [str(environment.python), "-c", program, str(answer.fileno())],
            cwd=directory,
            env=environment.variables(variables),
            pass_fds=(answer.fileno(),),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise EnvironmentMissing(f"{key} did not start:\n" + "\n".join(done.stderr.strip().splitlines()[-4:]))
        answer.seek(0)
        return json.load(answer)
