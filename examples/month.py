"""Write a ledger of five weeks of a made-up help desk, for the questions of docs/questions.md.

python -m examples.month
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord, ProductEvent, StepRecord
from genledger.ledger import Ledger
from genledger.pricing import Cost, Usage

LEDGER = Path("genledger-month.db")
DAYS = 35


class Tenant(NamedTuple):
    """A customer: drafts on a weekday, and the plan that it pays for."""

    name: str
    drafts: int
    plan: str


class Model(NamedTuple):
    """A model, and USD per million tokens of input and output."""

    provider: str
    name: str
    input: float
    output: float


TENANTS = (Tenant("acme", 24, "enterprise"), Tenant("globex", 12, "pro"), Tenant("initech", 5, "free"))
WRITER = Model("anthropic", "claude-haiku-4-5", 1.0, 5.0)
TRIAGE = Model("openai", "gpt-4.1-mini", 0.4, 1.6)
INDEX = Model("openai", "text-embedding-3-small", 0.02, 0.0)


def write(path: Path, today: datetime) -> None:
    """Write the weeks before a day into a new ledger. Each week is like the others, but for a new prompt in the last.

    Args:
        path: The ledger's file.
        today: Midnight in UTC.
    """
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    calls: list[CallRecord] = []
    events: list[ProductEvent] = []
    steps: list[StepRecord] = []
    for ago in range(DAYS, 0, -1):
        day = today - timedelta(days=ago)
        monday = day - timedelta(days=day.weekday())
        newest = (today - timedelta(days=today.weekday()) - monday).days <= 7
        for tenant in TENANTS:
            drafts = tenant.drafts if day.weekday() < 5 else tenant.drafts // 4
            chance = random.Random(f"{tenant.name} {day.weekday()}")
            for number in range(drafts):
                start = day + timedelta(hours=8, minutes=chance.randrange(600))
                for item in _draft(tenant, start, number, chance, newest):
                    into = calls if isinstance(item, CallRecord) else steps if isinstance(item, StepRecord) else events
                    into.append(item)  # type: ignore[arg-type]
    ledger = Ledger(path)
    ledger.write(calls, events, steps)
    ledger.close()


def _draft(
    tenant: Tenant, start: datetime, number: int, chance: random.Random, newest: bool
) -> Iterator[CallRecord | StepRecord | ProductEvent]:
    """One letter: it is looked up, triaged, and answered by an agent; most drafts are accepted."""
    at = int(start.timestamp()) * 10**9
    trace = (int(start.timestamp()) << 64) + (sum(map(ord, tenant.name)) << 32) + number + 1
    copilot = Attribution(
        tenant=tenant.name,
        feature="copilot",
        user=f"{tenant.name}-{number % 4}",
        session=f"{tenant.name}-{start:%m%d}-{number % 6}",
        prompt_name="reply",
        prompt_version="v4" if newest else "v3",
        tags=("urgent",) if number % 5 == 0 else (),
        metadata={"plan": tenant.plan},
    )
    search = Attribution(tenant=tenant.name, feature="search", user=copilot.user, metadata={"plan": tenant.plan})
    for span, agent in ((2, "triage"), (3, "writer")):
        yield StepRecord(trace, span, None, "agent", agent, at, 2.0, None, tenant.name, "copilot")
    longer = 1.25 if newest else 1.0  # the new prompt is longer
    yield _call(trace, 4, None, INDEX, search, at, "embeddings", (30, 0), 0.1)
    yield _call(trace, 5, 2, TRIAGE, copilot, at, "chat", (400 + chance.randrange(200), 20), 0.4)
    asked = round((1500 + chance.randrange(900)) * longer)
    failed = chance.random() < 0.06
    yield _call(trace, 6, 3, WRITER, copilot, at, "chat", (asked, 180 + chance.randrange(120)), 2.2, failed=failed)
    if failed:
        yield _call(trace, 7, 3, WRITER, copilot, at, "chat", (asked, 200), 2.4)
    if chance.random() < 0.7:
        yield ProductEvent("draft_accepted", at + 60 * 10**9, copilot, trace, 6, 1.0)


def _call(
    trace: int,
    span: int,
    parent: int | None,
    model: Model,
    who: Attribution,
    at: int,
    operation: str,
    tokens: tuple[int, int],
    seconds: float,
    *,
    failed: bool = False,
) -> CallRecord:
    asked, answered = tokens[0], 0 if failed else tokens[1]
    usd = (asked * model.input + answered * model.output) / 1e6
    return CallRecord(
        trace_id=trace,
        span_id=span,
        parent_span_id=parent,
        library=model.provider,
        provider=model.provider,
        operation=operation,
        request_model=model.name,
        response_model=model.name,
        response_id=None,
        started_ns=at,
        duration_s=seconds,
        time_to_first_chunk_s=None,
        stream=False,
        outcome="timeout" if failed else "success",
        error_type="timeout" if failed else None,
        attempts=2 if failed else 1,
        retry_causes=("timeout",) if failed else (),
        attribution=who,
        usage=Usage(input=asked, output=answered),
        usage_estimated=failed,
        cost=Cost(usd, "table"),
        unpriced=None,
        server_address=None,
        server_port=None,
    )


if __name__ == "__main__":
    write(LEDGER, datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0))
    print(f"written to {LEDGER}")
