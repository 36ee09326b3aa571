"""A ledger for the page: a month of calls in traces with steps, of tenants with all kinds of names."""

from __future__ import annotations

import random
import time
from pathlib import Path

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger
from genledger.pricing.usage import Usage

from ...samples import a_call

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '"><a href="http://evil.example/">x</a>',
    "<b>bold</b> %{y} $x^2$",
    "acme, Inc & Söhne",
    "A" * 300,
    "\u202eevil",
)
TENANTS = (*HOSTILE, *("acme", "globex") * 3)
FEATURES = ("search", "draft", "</td><script>alert(3)</script>", None)
MODELS = ("gpt-4o", "claude-sonnet-4-5", "<i>model</i>")
TRACE = f"{1 << 64:032x}"
"""A trace with an agent, a tool in it, and three calls."""


def write_month(path: Path, traces: int = 300) -> None:
    """Write three calls a trace, in an agent and a tool; every fourth call has a product outcome."""
    chance = random.Random(1)
    now = time.time_ns()
    calls: list[CallRecord] = []
    steps: list[StepRecord] = []
    events: list[ProductEvent] = []
    for trace in range(1, traces + 1):
        trace_id = trace << 64
        began = now - chance.randrange(60, 29 * 86_400) * 10**9
        agent, tool = trace_id + 1, trace_id + 2
        steps.append(StepRecord(trace_id, agent % 2**63, None, "agent", "planner <b>", began, 2.0, None))
        steps.append(StepRecord(trace_id, tool % 2**63, agent % 2**63, "tool", "look_up", began, 1.0, "KeyError"))
        for number in range(3):
            retried = chance.random() < 0.2
            outcome = chance.choice(("success", "success", "success", "error"))
            calls.append(
                a_call(
                    chance.choice((None, 0.25, 0.5)),
                    trace_id=trace_id,
                    span_id=10 + number,
                    parent_span_id=(tool if number == 2 else agent) % 2**63,
                    started_ns=began + number * 10**9,
                    response_model=chance.choice(MODELS),
                    outcome=outcome,
                    error_type=None if outcome == "success" else "APIError",
                    time_to_first_chunk_s=0.4 if number else None,
                    attempts=1 + retried,
                    retry_causes=("429",) * retried,
                    attribution=Attribution(tenant=chance.choice(TENANTS), feature=chance.choice(FEATURES), user="ann"),
                    usage=Usage(input=1000, output=100),
                )
            )
        if trace % 4 == 0:
            call = calls[-1]
            events.append(
                ProductEvent("draft_accepted", call.started_ns, call.attribution, trace_id, call.span_id, 2.0)
            )
    ledger = Ledger(path, max_age_days=None)
    ledger.write(calls, events, steps)
    ledger.close()
