"""Run the help desk against the provider on loopback, then ask the ledger what it cost.

python -m examples.demo
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import genledger
from genledger.cli import output
from genledger.cli.report import print_report, print_spending
from genledger.cli.trace import print_trace
from genledger.ledger import Ledger, queries, traces
from genledger.ledger.rows import trace_hex
from genledger.ledger.run_spending import total
from genledger.ledger.spending import Selection
from genledger.setup.pipeline import names_wanted
from genledger.setup.settings import read_settings

from .provider import DemoProvider
from .story import FAULTS, REPLIES, TENANTS

if TYPE_CHECKING:
    from .app import Answers, Draft, HelpDesk

LEDGER = Path("genledger-demo.db")
SHOWN_LETTER = "2017"
"""The one whose first request is rate-limited."""

BREAKDOWNS: tuple[str, ...] = ("feature", "model")


def scripted_provider() -> DemoProvider:
    """The provider that the demo's story needs."""
    return DemoProvider(replies=REPLIES, faults=FAULTS, latency=0.03)


def demo(provider: DemoProvider) -> None:
    """Run the demo against a provider that is being served."""
    console = Console(highlight=False, width=output.console().width)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{LEDGER}{suffix}").unlink(missing_ok=True)
    # The ledger is read below, so it is a destination besides whatever the environment configures.
    others = [name for name in names_wanted(read_settings({})[0], os.environ) if name != "ledger"]
    genledger.instrument(ledger=LEDGER, destinations=["ledger", *others], budget_store="memory:")
    with console.status("Importing openai, anthropic, google-genai, boto3 and chromadb"):
        from .app import HelpDesk
        from .comparison import Comparison
    places = ", ".join([f"the ledger {LEDGER}", *others])
    console.print(f"\n[bold]A help desk at work[/], its provider on loopback. Its calls go to {places}.\n")
    with HelpDesk(provider.openai_url, provider.anthropic_url) as desk:
        shown = work(desk, console)
    with Comparison(provider.openai_url, provider.url) as comparison:
        made, failed = comparison.run(TENANTS)
    console.print(f"  compare  four providers summarized the same letters: {made} summaries, [red]{failed} failed[/]")
    genledger.shutdown()
    print_ledger(console, shown)
    print_next_steps(console)


def work(desk: HelpDesk, console: Console) -> Draft:
    """Let the help desk do a morning's work; returns the draft whose trace is worth a look."""
    for tenant in TENANTS:
        desk.index(tenant)
    drafts: dict[str, Draft] = {}
    for tenant in TENANTS:
        for ticket in tenant.tickets:
            drafts[ticket.number] = draft = desk.copilot(tenant, ticket)
            verdict = "[green]accepted[/]" if ticket.accepted else "[dim]not used[/]"
            what = f"drafted a reply to letter {ticket.number}"
            console.print(_line("copilot", tenant.name, what, draft.calls, draft.usd), verdict)
    for tenant, answers in zip(TENANTS, asyncio.run(search(desk)), strict=True):
        failed = answers.texts.count(None)
        verdict = f"[red]{failed} failed[/]" if failed else ""
        what = f"answered {len(answers.texts) - failed} questions"
        console.print(_line("search", tenant.name, what, answers.calls, answers.usd), verdict)
    return drafts[SHOWN_LETTER]


async def search(desk: HelpDesk) -> list[Answers]:
    """All tenants ask at the same time."""
    questions = [[question.text for question in tenant.questions] for tenant in TENANTS]
    async with desk.async_openai:
        return await asyncio.gather(*map(desk.search, TENANTS, questions))


def _line(feature: str, tenant: str, what: str, calls: int, usd: float) -> str:
    return f"  {feature:8} {tenant:8} {what:30} {calls:3} calls  {output.money(usd, 6)} "


def print_ledger(console: Console, shown: Draft) -> None:
    """Spend by feature, model, tenant and provider, the cost per accepted draft, and one trace as a tree."""
    with Ledger(LEDGER).reading() as connection:
        for by in BREAKDOWNS:
            rows = queries.spending(connection, by)
            found = replace(queries.nothing(by), rows=rows, total=total(rows))
            console.print()
            print_report(console, found, title=f"Spend by {by}")
        console.print()
        print_report(console, queries.report(connection, "tenant"), title="Spend by tenant")
        console.print()
        compared = queries.spending(connection, "provider", Selection(feature="compare"))
        print_spending(console, "provider", compared, title="The same summaries, by provider")
        console.print()
        print_trace(console, traces.trace(connection, trace_hex(shown.trace_id)))


def print_next_steps(console: Console) -> None:
    """How to look further, and how to send the same elsewhere."""
    command = os.path.relpath(Path(sys.executable).with_name("genledger"))
    again = "make demo"
    steps = {
        "Look further": f"{command} report --by tenant --since 7d --ledger {LEDGER}",
        "Send the same to Langfuse": f"LANGFUSE_PUBLIC_KEY=pk-lf-… LANGFUSE_SECRET_KEY=sk-lf-… {again}",
        "Send the same to OTLP": f"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 {again}",
    }
    console.print()
    for what, how in steps.items():
        console.print(f"[bold]{what}[/]: {how}", soft_wrap=True)


if __name__ == "__main__":
    with scripted_provider() as running:
        demo(running)
