"""Anthropic's SDK has spans of its own. Whatever its setting: one span per call that speaks of usage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util._once import Once

from .. import anthropic_format as wire
from ..anthropic_ways import WAYS, ask
from ..provider import Provider, answer, now
from ..telemetry import Telemetry, attributes_of, instrumented

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "off by option": {"open_telemetry": False},
    "on by option": {"open_telemetry": {}},
    "traces off": {"open_telemetry": {"traces": False}},
    "with content": {"open_telemetry": {"traces": {"content_mode": "content"}}},
    "without propagation": {"open_telemetry": {"propagation": False}},
    "off by environment": {"env": {"ANTHROPIC_OPEN_TELEMETRY": "false"}},
    "content by environment": {"env": {"ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE": "content"}},
    "no propagation by environment": {"env": {"ANTHROPIC_OPEN_TELEMETRY_PROPAGATION": "false"}},
}


@pytest.fixture
def as_global() -> Iterator[Telemetry]:
    """Genledger writes to the global provider, which the SDK's own spans go to as well."""
    with instrumented() as telemetry:
        before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = telemetry.tracer_provider, Once()
        try:
            yield telemetry
        finally:
            trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before


def speaking_of_usage(spans: tuple[ReadableSpan, ...]) -> list[ReadableSpan]:
    return [
        span
        for span in spans
        if any(name.startswith(("gen_ai.usage.", "genledger.cost.")) for name in span.attributes or ())
    ]


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("way", WAYS)
async def test_one_span_speaks_of_usage_for_every_setting(
    provider: Provider,
    as_global: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, Any],
    way: str,
) -> None:
    for name, value in setting.get("env", {}).items():
        monkeypatch.setenv(name, value)
    options = {key: value for key, value in setting.items() if key != "env"}
    client = provider.anthropic(**options)
    await ask(client, provider, way)
    (span,) = speaking_of_usage(as_global.spans)
    attributes = attributes_of(span)
    assert attributes["gen_ai.usage.input_tokens"] == 131
    assert attributes["gen_ai.usage.output_tokens"] == 7
    assert attributes["genledger.cost.amount"] > 0
    assert attributes["genledger.outcome"] == "success"
    assert not as_global.open.spans
    assert not as_global.complaints.other


@pytest.mark.parametrize("way", WAYS)
async def test_a_provider_that_the_application_gave_the_client_keeps_the_clients_spans(
    provider: Provider, way: str
) -> None:
    elsewhere = Telemetry()
    with instrumented() as telemetry:
        await ask(provider.anthropic(open_telemetry={"tracer_provider": elsewhere.tracer_provider}), provider, way)
        (theirs,) = elsewhere.spans
        assert attributes_of(theirs)["gen_ai.usage.output_tokens"] == 7
        assert len(speaking_of_usage(telemetry.spans)) == 1


async def test_spans_that_stay_with_the_client_have_the_parent_that_the_application_gave_them(
    provider: Provider,
) -> None:
    elsewhere = Telemetry()
    client = provider.anthropic(open_telemetry={"tracer_provider": elsewhere.tracer_provider})
    provider.will(answer(wire.message()))
    with instrumented(), elsewhere.tracer_provider.get_tracer("app").start_as_current_span("app") as around:
        await now(client.messages.create(**wire.ASK))
    theirs, _ = elsewhere.spans
    assert theirs.parent is not None
    assert theirs.parent.span_id == around.get_span_context().span_id
    assert provider.requests[0].headers["traceparent"].split("-")[2] == format(theirs.context.span_id, "016x")


async def test_a_global_provider_that_genledger_does_not_write_to_keeps_the_clients_spans(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Telemetry()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", elsewhere.tracer_provider)
    provider.will(answer(wire.message()))
    with instrumented() as telemetry:
        await now(provider.anthropic().messages.create(**wire.ASK))
    assert [span.name for span in elsewhere.spans] == ["anthropic.messages.create"]
    assert len(speaking_of_usage(telemetry.spans)) == 1


async def test_without_a_provider_of_the_clients_own_the_request_is_what_it_is_without_genledger(
    provider: Provider,
) -> None:
    provider.will(answer(wire.message()))
    with instrumented() as telemetry:
        await now(provider.anthropic().messages.create(**wire.ASK))
        assert telemetry.span in speaking_of_usage(telemetry.spans)
    assert "traceparent" not in provider.requests[0].headers


async def test_a_client_that_is_older_than_the_global_provider_gets_no_second_span(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = provider.anthropic()
    provider.will(answer(wire.message()))
    with instrumented() as telemetry:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", telemetry.tracer_provider)
        await now(client.messages.create(**wire.ASK))
        assert speaking_of_usage(telemetry.spans) == [telemetry.span]


async def test_a_global_provider_that_does_not_load_costs_the_client_no_span(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Telemetry()
    client = provider.anthropic(open_telemetry={"tracer_provider": elsewhere.tracer_provider})
    provider.will(answer(wire.message()))
    with instrumented() as telemetry:
        monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "not_installed")
        await now(client.messages.create(**wire.ASK))
        assert not telemetry.complaints.other
    assert [span.name for span in elsewhere.spans] == ["anthropic.messages.create"]


async def test_genledgers_own_provider_given_to_the_client_gets_no_second_span(provider: Provider) -> None:
    with instrumented() as telemetry:
        client = provider.anthropic(open_telemetry={"tracer_provider": telemetry.tracer_provider})
        provider.will(answer(wire.message()))
        await now(client.messages.create(**wire.ASK))
        assert telemetry.span in speaking_of_usage(telemetry.spans)


async def test_the_request_carries_our_span_as_its_parent(provider: Provider, as_global: Telemetry) -> None:
    provider.will(answer(wire.message()))
    await now(provider.anthropic().messages.create(**wire.ASK))
    (span,) = speaking_of_usage(as_global.spans)
    assert span.context is not None
    assert provider.requests[0].headers["traceparent"].split("-")[1] == format(span.context.trace_id, "032x")


@pytest.mark.parametrize("setting", ["default", "with content"])
async def test_the_setting_of_the_client_is_what_it_was(provider: Provider, as_global: Telemetry, setting: str) -> None:
    client = provider.anthropic(**SETTINGS[setting])
    before = json.dumps(client.open_telemetry)
    provider.will(answer(wire.message()))
    await now(client.messages.create(**wire.ASK))
    assert json.dumps(client.open_telemetry) == before


async def test_without_genledger_the_sdk_has_its_span_again(provider: Provider) -> None:
    elsewhere = Telemetry()
    client = provider.anthropic(open_telemetry={"tracer_provider": elsewhere.tracer_provider})
    provider.will(answer(wire.message()))
    with instrumented():
        await now(client.messages.create(**wire.ASK))
    elsewhere.clear()
    await now(client.messages.create(**wire.ASK))
    assert [span.name for span in elsewhere.spans] == ["anthropic.messages.create"]


async def test_a_client_whose_library_is_left_out_keeps_its_own_span(provider: Provider) -> None:
    elsewhere = Telemetry()
    client = provider.anthropic(open_telemetry={"tracer_provider": elsewhere.tracer_provider})
    provider.will(answer(wire.message()))
    with instrumented(libraries=["openai"]):
        await now(client.messages.create(**wire.ASK))
    assert [span.name for span in elsewhere.spans] == ["anthropic.messages.create"]
