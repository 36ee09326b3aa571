"""10,000 calls of 50 tenants at once, in one event loop and eight threads: nobody pays for anybody else."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

import genledger

from ..genledger.applications import rows
from ..replay.transport import Reply, Wire
from . import openai_format as wire
from .provider import EVENTS, JSON
from .telemetry import Telemetry

TENANTS = 50
CALLS = 10_000
STREAMED = 10
"""One in so many calls is streamed."""

RATES = {
    # OpenAI's published prices, USD per million tokens: input, cached input, output.
    "gpt-4o": (Decimal("2.50"), Decimal("1.25"), Decimal("10")),
    "gpt-4o-mini": (Decimal("0.15"), Decimal("0.075"), Decimal("0.60")),
    "gpt-4.1-mini": (Decimal("0.40"), Decimal("0.10"), Decimal("1.60")),
}


class Plan:
    """One call: who makes it, and what it will cost."""

    def __init__(self, number: int, random: random.Random) -> None:
        self.number = number
        self.tenant = f"tenant-{number % TENANTS}"
        self.feature = random.choice(["search", "draft"])
        self.model = random.choice(list(RATES))
        self.streamed = number % STREAMED == 0
        self.input = random.randrange(1, 5000)
        self.cached = random.randrange(self.input + 1)
        self.output = random.randrange(1, 900)

    @property
    def cost(self) -> Decimal:
        """In USD, by arithmetic of its own."""
        fresh, cached, output = RATES[self.model]
        total = (self.input - self.cached) * fresh + self.cached * cached + self.output * output
        return total / 1_000_000

    @property
    def usage(self) -> dict[str, Any]:
        """As the provider says it."""
        return {
            "prompt_tokens": self.input,
            "completion_tokens": self.output,
            "total_tokens": self.input + self.output,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    @property
    def request(self) -> dict[str, Any]:
        """What the application sends; a header tells the provider which call it is."""
        more = {"stream": True, "stream_options": {"include_usage": True}} if self.streamed else {}
        return {"model": self.model, "messages": [], "extra_headers": {"x-call": str(self.number)}, **more}

    def reply(self) -> Reply:
        """What the provider sends."""
        about = {"id": f"chatcmpl-{self.number}", "model": self.model, "service_tier": "default"}
        if not self.streamed:
            return Reply(200, JSON, [orjson.dumps(wire.chat(usage=self.usage, **about))])
        chunks = [wire.chunk({"content": "Hi"}), wire.chunk(finish="stop"), wire.chunk(choices=[], usage=self.usage)]
        events = b"".join(b"data: %s\n\n" % orjson.dumps({**chunk, **about}) for chunk in chunks)
        return Reply(200, EVENTS, [events, b"data: [DONE]\n\n"])


def planned() -> list[Plan]:
    seeded = random.Random(20261121)
    plans = [Plan(number, seeded) for number in range(CALLS)]
    seeded.shuffle(plans)
    return plans


def provider(plans: list[Plan]) -> Wire:
    by_number = {plan.number: plan for plan in plans}

    def respond(request: Any) -> Reply:
        return by_number[int(request.headers["x-call"])].reply()

    return Wire("openai", respond)


async def in_one_loop(wire: Wire, plans: list[Plan]) -> None:
    """200 tasks at once; each call waits in its block for its neighbours, so that blocks overlap in every order."""
    import openai

    client = openai.AsyncOpenAI(api_key="test", http_client=wire.async_client, max_retries=0)
    waiting = iter(plans)

    async def worker() -> None:
        for plan in waiting:
            with genledger.attribution(tenant=plan.tenant, feature=plan.feature):
                await asyncio.sleep(0)
                answer: Any = await client.chat.completions.create(**plan.request)
                if plan.streamed:
                    async for _ in answer:
                        await asyncio.sleep(0)

    await asyncio.gather(*(worker() for _ in range(200)))


def in_eight_threads(wire: Wire, plans: list[Plan]) -> None:
    """The blocks are opened by the thread that submits; the calls are made in the pool."""
    import openai

    client = openai.OpenAI(api_key="test", http_client=wire.client, max_retries=0)

    def call(plan: Plan) -> None:
        answer: Any = client.chat.completions.create(**plan.request)
        if plan.streamed:
            for _ in answer:
                pass

    with ThreadPoolExecutor(8) as pool:
        done = []
        for plan in plans:
            with genledger.attribution(tenant=plan.tenant, feature=plan.feature):
                done.append(pool.submit(call, plan))
        for future in done:
            future.result()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_every_row_carries_its_own_tenant_and_the_sums_agree_to_the_cent(ledger: Path) -> None:
    plans = planned()
    wire = provider(plans)
    telemetry = Telemetry()
    genledger.instrument(
        libraries=["openai"],
        destinations=["ledger"],
        ledger=str(ledger),
        meter_provider=telemetry.meter_provider,
        tracer_provider=telemetry.tracer_provider,
    )
    try:
        half = CALLS // 2
        asyncio.run(in_one_loop(wire, plans[:half]))
        in_eight_threads(wire, plans[half:])
        assert genledger.flush(30)
        counted = costs_by_tenant(telemetry)
    finally:
        genledger.uninstrument()

    kept = {row["response_id"]: row for row in rows(ledger)}
    assert len(kept) == CALLS
    for plan in plans:
        row = kept[f"chatcmpl-{plan.number}"]
        assert (row["tenant"], row["feature"], row["request_model"]) == (plan.tenant, plan.feature, plan.model)
        assert row["cost_usd"] == pytest.approx(float(plan.cost), rel=1e-9)
        assert row["input"] + row["cache_read"] == plan.input
        assert row["outcome"] == "success"

    assert_sums(plans, kept.values(), lambda plan: plan.tenant, lambda row: row["tenant"])
    assert_sums(plans, kept.values(), lambda plan: plan.model, lambda row: row["request_model"])
    assert {tenant: round(usd, 2) for tenant, usd in counted.items()} == {
        tenant: round(float(usd), 2) for tenant, usd in sums(plans, lambda plan: plan.tenant).items()
    }
    assert not telemetry.open.spans
    assert Counter(span.name for span in telemetry.spans) == Counter(f"chat {plan.model}" for plan in plans)


def sums(plans: list[Plan], key: Callable[[Plan], str]) -> dict[str, Decimal]:
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for plan in plans:
        found[key(plan)] += plan.cost
    return dict(found)


def assert_sums(plans: list[Plan], kept: Any, of_plan: Callable[[Plan], str], of_row: Callable[[Any], str]) -> None:
    found: defaultdict[str, float] = defaultdict(float)
    for row in kept:
        found[of_row(row)] += row["cost_usd"]
    cent = Decimal("0.01")
    assert {name: Decimal(usd).quantize(cent) for name, usd in found.items()} == {
        name: usd.quantize(cent) for name, usd in sums(plans, of_plan).items()
    }


def costs_by_tenant(telemetry: Telemetry) -> dict[str, float]:
    found: defaultdict[str, float] = defaultdict(float)
    data = telemetry.metrics
    assert data is not None
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == "genledger.cost":
                    for point in metric.data.data_points:
                        attributes: Any = point.attributes
                        found[attributes["genledger.tenant.id"]] += getattr(point, "value", 0.0)
    return dict(found)
