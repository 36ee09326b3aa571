"""The demo's help desk as a service that Prometheus scrapes. It works until told a line, and serves until the end.

python -m tests.dashboards.application PORT LEDGER
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.demo.provider import DemoProvider, Fault
from examples.demo.story import FAULTS, REPLIES, TENANTS
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

import genledger
from genledger.budgets import BudgetExceeded

if TYPE_CHECKING:
    from examples.demo.app import HelpDesk

OFTEN = 1_000_000
ROUND_S = 0.2

BUDGETS = """
[[budget]]
name = "per tenant"
tenant = "each"
usd = 100
per = "day"

[[budget]]
name = "trial"
tenant = "trial"
requests = 1
per = "day"
"""


class Refusing(BaseHTTPRequestHandler):
    """An OTLP endpoint that takes nothing, so that records are dropped."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def serve(port: int, ledger: Path) -> None:
    """Make calls of every kind that a panel shows, again and again."""
    collector = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    meters = MeterProvider(metric_readers=[PrometheusMetricReader()])
    budgets = ledger.with_name("budgets.toml")
    budgets.write_text(BUDGETS)
    os.environ["OTEL_RESOURCE_ATTRIBUTES"] = "service.version=1.2.0"
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector.server_port}"
    genledger.instrument(
        ledger=ledger,
        destinations=["ledger", "otlp"],
        budgets=budgets,
        budget_store="memory:",
        meter_provider=meters,
        max_label_values=8,
    )
    from examples.demo.app import HelpDesk

    faults = [replace(fault, times=OFTEN) for fault in FAULTS if fault.status == 500]
    faults += [Fault(f"Summarise letter {number}", status=429) for number in ("2017", "3310", "3311")]
    start_http_server(port, "127.0.0.1")
    finished = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), finished.set()), daemon=True).start()
    with (
        DemoProvider(replies=REPLIES, faults=faults) as provider,
        HelpDesk(provider.openai_url, provider.anthropic_url) as desk,
    ):
        for tenant in TENANTS:
            desk.index(tenant)
        asyncio.run(rounds(desk, finished))
    genledger.flush()
    print("finished", flush=True)
    sys.stdin.read()
    genledger.shutdown()


async def rounds(desk: HelpDesk, finished: threading.Event) -> None:
    number = 0
    while not finished.is_set():
        for tenant in TENANTS:
            ticket = tenant.tickets[number % len(tenant.tickets)]
            await asyncio.to_thread(desk.copilot, tenant, ticket)
            await desk.search(tenant, [question.text for question in tenant.questions])
        await asyncio.to_thread(odd_calls, desk, number)
        number += 1
        print(number, flush=True)
        await asyncio.sleep(ROUND_S)


def odd_calls(desk: HelpDesk, number: int) -> None:
    """What the help desk does not do: unpriced, broken off and refused calls, and a tenant too many for a label."""
    message: Any = {"role": "user", "content": "Hello"}
    with genledger.attribution(tenant=TENANTS[0].name, feature="search"):
        desk.openai.chat.completions.create(model="in-house-7b", messages=[message])
        with desk.openai.chat.completions.create(model="gpt-4.1-mini", messages=[message], stream=True) as stream:
            next(iter(stream))
        for _ in range(5):
            genledger.record_outcome("answer_read", value=0.5)
        genledger.record_cache_hit(0.0042, cache="redis")
        try:
            desk.passages.query(query_embeddings=[[0.5]])
        except Exception:  # of a wrong number of dimensions
            pass
    with genledger.attribution(tenant="trial", feature="copilot"):
        try:
            desk.openai.chat.completions.create(model="gpt-4.1-mini", messages=[message])
        except BudgetExceeded:
            pass
    with genledger.attribution(tenant=f"visitor-{number}", feature="search"):
        desk.openai.chat.completions.create(model="gpt-4.1-mini", messages=[message])


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
