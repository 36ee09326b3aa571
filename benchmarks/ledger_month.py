"""A ledger with a month of calls, for benchmarks of what reads it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent
from genledger.ledger import Ledger
from genledger.pricing.cost import Cost
from genledger.pricing.usage import Usage

DAYS = 30
_AT_ONCE = 5_000
_MODELS = (("openai", "gpt-4o", 5e-6), ("openai", "gpt-4o-mini", 3e-7), ("anthropic", "claude-sonnet-4-5", 6e-6))
_FEATURES = ("search", "draft", "summary", "copilot", "triage", "translate", "chat", "review")


def make_ledger(path: Path, calls: int, *, now_ns: int | None = None, seed: int = 7) -> Ledger:
    """Write calls of 200 tenants and 5,000 users in the last 30 days, three a trace; one in 20 accepts a draft."""
    ledger = Ledger(path, max_age_days=None, max_bytes=None)
    chance = random.Random(seed)
    rows = _calls(chance, calls, time.time_ns() if now_ns is None else now_ns)
    while batch := list(islice(rows, _AT_ONCE)):
        accepted = [
            ProductEvent("draft_accepted", call.started_ns, call.attribution, call.trace_id, call.span_id, 1.0)
            for call in batch[::20]
        ]
        ledger.write(batch, accepted)
    return ledger


def _calls(chance: random.Random, calls: int, now_ns: int) -> Iterator[CallRecord]:
    step = DAYS * 86_400_000_000_000 // calls
    for number in range(calls):
        provider, model, rate = chance.choice(_MODELS)
        usage = Usage(
            input=chance.randrange(200, 4_000), cache_read=chance.randrange(500), output=chance.randrange(20, 800)
        )
        outcome = chance.choices(("success", "error", "timeout", "rate_limited"), (94, 3, 1, 2))[0]
        attempts = 1 + (chance.random() < 0.05)
        priced = chance.random() > 0.02
        stream = chance.random() < 0.4
        yield CallRecord(
            trace_id=(number // 3 + 1) << 64,
            span_id=number + 1,
            parent_span_id=None,
            library=provider,
            provider=provider,
            operation="chat",
            request_model=model,
            response_model=model,
            response_id=f"response-{number}",
            started_ns=now_ns - (calls - number) * step,
            duration_s=chance.lognormvariate(0.3, 0.6),
            time_to_first_chunk_s=chance.lognormvariate(-1, 0.4) if stream else None,
            stream=stream,
            outcome=outcome,  # type: ignore[arg-type]
            error_type=None if outcome == "success" else f"{provider}.APIError",
            attempts=attempts,
            retry_causes=("429",) * (attempts - 1),
            attribution=Attribution(
                tenant=f"tenant-{min(int(chance.paretovariate(0.6)), 200):03}",
                feature=chance.choice(_FEATURES),
                user=f"user-{chance.randrange(5_000)}",
                prompt_version=chance.choice(("v1", "v2")),
            ),
            usage=usage,
            usage_estimated=False,
            cost=Cost(usage.input * rate + usage.output * rate * 4, "table") if priced else None,
            unpriced=None if priced else "unknown_model",
            server_address=None,
            server_port=None,
        )
