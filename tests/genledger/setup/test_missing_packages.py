"""A destination that a missing package keeps from loading is left out, in one line; all else works."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..applications import rows, run

APPLICATION = """
import logging
import sys

logging.basicConfig(format="%(message)s")
sys.modules[{missing!r}] = None  # as if it were not installed

import genledger

genledger.instrument(libraries=[])
with genledger.observe("work"):
    pass
genledger.shutdown()
"""


@pytest.mark.parametrize(
    ("missing", "variables", "told", "advice"),
    [
        pytest.param(
            "grpc",
            {"GENLEDGER_DESTINATIONS": "otlp,ledger", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "destination otlp:",
            "pip install 'genledger[grpc]'",
            id="gRPC for spans",
        ),
        pytest.param(
            "grpc",
            {
                "GENLEDGER_DESTINATIONS": "ledger",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_METRICS_EXPORTER": "otlp",
            },
            "export of metrics:",
            "pip install 'genledger[grpc]'",
            id="gRPC for metrics",
        ),
        pytest.param(
            "grpc",
            {"GENLEDGER_DESTINATIONS": "ledger", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_LOGS_EXPORTER": "otlp"},
            "export of log records:",
            "pip install 'genledger[grpc]'",
            id="gRPC for log records",
        ),
        pytest.param(
            "requests",
            {"GENLEDGER_DESTINATIONS": "otlp,ledger", "OTEL_METRICS_EXPORTER": "none"},
            "destination otlp cannot be loaded:",
            "requests",
            id="a package that is always installed",
        ),
    ],
)
def test_a_destination_without_its_packages_is_left_out_with_what_to_install(
    tmp_path: Path, missing: str, variables: dict[str, str], told: str, advice: str
) -> None:
    ledger = tmp_path / "ledger.db"
    code = APPLICATION.format(missing=missing)
    done = run(tmp_path, code, GENLEDGER_LEDGER=str(ledger), GENLEDGER_SPOOL="off", **variables)
    (line,) = done.stderr.splitlines()
    assert told in line
    assert advice in line
    assert [row["name"] for row in rows(ledger, "SELECT name FROM steps")] == ["work"]
