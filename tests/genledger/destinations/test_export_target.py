from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from genledger.destinations.export_target import ExportTarget

HTTP = "http://localhost:4318/v1/traces"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (HTTP, HTTP),
        (HTTP, "http://LOCALHOST.:4318/v1/traces/"),
        (HTTP, "http://127.0.0.1:4318/v1/traces"),
        (HTTP, "http://[::1]:4318/v1/traces"),
        (HTTP, "http://0.0.0.0:4318/v1/traces"),
        ("https://otlp.example/v1/traces", "https://otlp.example:443/v1/traces"),
        ("http://otlp.example/v1/traces", "http://Otlp.Example:80/v1/traces"),
    ],
)
def test_spellings_of_one_address_are_one_target(ours: str, theirs: str) -> None:
    assert ExportTarget.of(ours, "http/protobuf", {}).is_target_of(OTLPSpanExporter(theirs))


@pytest.mark.parametrize(
    "theirs",
    [
        "http://localhost:4319/v1/traces",
        "http://localhost:4318/v2/traces",
        "http://localhost:4318",
        "http://otlp.example:4318/v1/traces",
        "http://localhost:4318/v1/traces?tenant=acme",
        "http://localhost:port/v1/traces",
    ],
)
def test_other_addresses_are_other_targets(theirs: str) -> None:
    assert not ExportTarget.of(HTTP, "http/protobuf", {}).is_target_of(OTLPSpanExporter(theirs))


@pytest.mark.parametrize(
    ("ours", "protocol", "exporter", "same"),
    [
        ("http://localhost:4317", "grpc", GrpcExporter("localhost:4317", insecure=True), True),
        ("http://localhost:4317", "grpc", GrpcExporter("http://127.0.0.1:4317"), True),
        ("https://otlp.example", "grpc", GrpcExporter("otlp.example:443"), True),
        # A collector listens for both protocols, at its two ports.
        ("http://localhost:4317", "grpc", OTLPSpanExporter(HTTP), True),
        (HTTP, "http/protobuf", GrpcExporter("http://localhost:4317"), True),
        # Nothing arrives there this way, so what is ours has to.
        (HTTP, "http/protobuf", GrpcExporter("http://localhost:4318"), False),
        ("http://localhost:4317", "grpc", OTLPSpanExporter("http://localhost:4317/v1/traces"), False),
        (HTTP, "http/protobuf", ConsoleSpanExporter(), False),
        (HTTP, "http/protobuf", None, False),
    ],
)
def test_a_receiver_is_the_same_whichever_protocol_leads_to_it(
    ours: str, protocol: Any, exporter: Any, same: bool
) -> None:
    assert ExportTarget.of(ours, protocol, {}).is_target_of(exporter) is same


def test_another_credential_is_another_account() -> None:
    mine = {"Authorization": "Basic mine", "x-note": "one"}
    target = ExportTarget.of(HTTP, "http/protobuf", mine)
    assert target.is_target_of(OTLPSpanExporter(HTTP, headers={"authorization": "Basic mine"}))
    assert target.is_target_of(OTLPSpanExporter(HTTP))
    assert not target.is_target_of(OTLPSpanExporter(HTTP, headers={"authorization": "Basic yours"}))
    assert not target.is_target_of(GrpcExporter("http://localhost:4317", headers={"authorization": "Basic yours"}))


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_each_signal_has_a_target_of_its_own(signal: str) -> None:
    target = ExportTarget.of(f"http://localhost:4318/v1/{signal}", "http/protobuf", {}, signal)
    assert target.is_target_of(GrpcExporter("http://localhost:4317"), signal)
    assert not target.is_target_of(GrpcExporter("http://localhost:4317"))
