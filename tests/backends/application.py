"""Calls the real clients against the demo's provider, sends the spans to an OTLP endpoint, and prints what each cost.

application.py URL [HEADER=VALUE …]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import genledger
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import anthropic
import openai
from demo.provider import DemoProvider

TEXT = "Say hello to a ledger. " * 20


def main() -> None:
    headers = dict(pair.split("=", 1) for pair in sys.argv[2:])
    destination = OtlpDestination(OtlpEndpoint(sys.argv[1], headers=headers, timeout_s=60), spool=None)
    provider = TracerProvider(shutdown_on_exit=False)
    seen = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    trace.set_tracer_provider(provider)
    genledger.instrument(destinations=[destination])
    with DemoProvider() as demo:
        client = openai.OpenAI(base_url=demo.openai_url, api_key="demo")
        for model in ("gpt-4.1-mini", "gpt-4o", "gpt-5-mini"):
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": TEXT}])
        client.responses.create(model="gpt-5-mini", input=TEXT)
        client.embeddings.create(model="text-embedding-3-small", input=TEXT)
        claude = anthropic.Anthropic(base_url=demo.anthropic_url, api_key="demo")
        for _ in ("written to the cache", "read from it"):
            claude.messages.create(
                model="claude-sonnet-4-5",
                max_tokens=100,
                messages=[{"role": "user", "content": TEXT}],
                system=[{"type": "text", "text": TEXT * 100, "cache_control": {"type": "ephemeral"}}],
            )
    assert destination.flush(120)
    costs = []
    for span in seen.get_finished_spans():
        given = dict(span.attributes or {})
        if "genledger.cost.amount" in given:
            tokens = given.get("gen_ai.usage.cache_write.input_tokens", 0)
            costs.append([f"{span.context.trace_id:032x}", span.name, given["genledger.cost.amount"], tokens])
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
