"""`genledger prices`: what models cost, and what calls will have cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from genledger import pricing
from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger
from genledger.cli.output import (
    JsonOption,
    console,
    digits_for,
    fail,
    money,
    number_of,
    print_json,
    tell,
)
from genledger.cli.tables import add_names, add_numbers, new_table
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger, LedgerError
from genledger.pricing import Cost, PriceFileError, Quote, Recorded
from genledger.pricing.rate_card import distinct
from genledger.shared.text import visible
from genledger.shared.toml_file import lines_of, read_toml

PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        envvar="GENLEDGER_PRICES",
        help="Your own prices; they take precedence.",
        show_default=False,
    ),
]
_REASONS = {
    "unknown_model": "the price table has the provider, but not this model. For a newer model, run "
    "`genledger prices update`. For a deployment, a profile or a fine-tuned model, set a price or an alias in your "
    "own prices (docs/pricing.md).",
    "unknown_provider": "the provider is unknown, or the model's name does not identify one. Name it with --provider.",
}
_AT_ONCE = 500

app = new_app(invoke_without_command=True)


@app.callback()
def _prices(context: typer.Context) -> None:
    """Show, check and update prices; price unpriced calls."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Model name as in calls: gpt-5.4, us.amazon.nova-pro-v1:0, …")],
    at: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Date or time, UTC: 2026-11-20T02:30."),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Provider: openai, azure, aws.bedrock, … (default: from the model's name).")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Service tier: batch, flex, priority or fast.")] = None,
    region: Annotated[str | None, typer.Option(help="Region, if it has its own rates: us, eu, us-east5, …")] = None,
    prices: PricesOption = None,
    json: JsonOption = False,
) -> None:
    """Show the rates of a model and their source, at any time.

    Rates are USD per million tokens, or per unit. A bucket that is not listed has the rate of its parent: cached,
    audio and image input that of input, reasoning that of output. A second column shows the rates for prompts
    above a number of tokens; they apply to the whole call. With --json, rates are per token.
    """
    _use(prices)
    found = pricing.quote(model, provider=provider, at=_moment(at), tier=tier, region=region)
    if isinstance(found, str):
        if json:
            print_json({"model": model, "provider": provider, "unpriced": found})
            raise typer.Exit(1)
        fail(f"no price for {model}: {_REASONS.get(found, found)}")
    if json:
        print_json(asdict(found))
        return
    _print(visible(found))


def _moment(at: str | None) -> datetime | None:
    if at is None:
        return None
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        message = f"{at!r} is not a date; write it like 2026-03-01 or 2026-11-20T02:30"
        raise typer.BadParameter(message, param_hint="--at") from None


def _print(found: Quote) -> None:
    where = [f"{found.model} at {found.provider}", f"{found.at:%Y-%m-%d %H:%M} UTC"]
    where += [f"tier {found.tier}"] if found.tier else []
    where += [f"region {found.region}"] if found.region else []
    tell(", ".join(where))
    if found.free:
        tell("free of charge")
    else:
        console().print(_table(found))
    dated = f", {found.table_date}" if found.table_date else ""
    tell(f"source: {'your own prices' if found.source == 'override' else 'price table'}{dated}")
    for note in found.notes:
        tell(f"note: {note}")


def _table(found: Quote) -> Table:
    table = new_table("bucket")
    for band in found.bands:
        add_numbers(table, f"above {band.above:,} tokens" if band.above else "USD")
    add_names(table, "per")
    shown = set().union(*(distinct(band.rates) for band in found.bands))
    for bucket in sorted(shown, key=_order):
        tokens = bucket in pricing.TOKEN_BUCKETS
        rates = (band.rates.get(bucket, 0.0) * (1e6 if tokens else 1) for band in found.bands)
        table.add_row(bucket, *map(_rate, rates), "million tokens" if tokens else bucket.replace("_", " "))
    return table


def _order(bucket: str) -> tuple[int, str]:
    buckets = pricing.TOKEN_BUCKETS
    return (buckets.index(bucket), "") if bucket in buckets else (len(buckets), bucket)


def _rate(usd: float) -> str:
    return f"{usd:.8f}".rstrip("0").rstrip(".")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Price file, in the format of GENLEDGER_PRICES.")],
) -> None:
    """Check a file of your own prices. Lists every mistake with its line and the expected value."""
    from genledger.pricing.quotes import unknown_aliases

    try:
        rules = pricing.load_overrides(file)
    except PriceFileError as error:
        fail(*error.lines)
    unknown = unknown_aliases(rules)
    if unknown:
        lines = lines_of(read_toml(file)[0])
        advice = "has no known price; name a model that `genledger prices show` knows"
        fail(*(f"{file}:{lines['price', at, 'alias']}: alias: {rules[at].alias!r} {advice}" for at in unknown))
    tell(f"{file}: {number_of(len(rules), 'price')}, no mistakes")


@app.command()
def update() -> None:
    """Download the newest price table and use it from now on.

    No other command downloads anything; nor does Genledger at import, at start or during a call. The table is the
    one that genai-prices publishes. It is stored with today's date in your data directory. Delete the file to
    return to the installed table.
    """
    from genledger.pricing import table_update

    try:
        stored = table_update.update()
    except table_update.UpdateError as error:
        fail(f"{error}. Nothing was changed.")
    tell(f"{number_of(len(stored.providers), 'provider')} from {stored.url}, stored at {table_update.location()}")


@app.command()
def backfill(
    ledger: LedgerOption = None,
    prices: PricesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, without changing it.")] = False,
    json: JsonOption = False,
) -> None:
    """Price the ledger's unpriced calls with the prices known now.

    Each call is priced as of its own time. Calls without a price stay unpriced.
    """
    _use(prices)
    path = existing_ledger(ledger)
    calls: Counter[str] = Counter()
    usd: Counter[str] = Counter()
    left: Counter[str] = Counter()
    try:
        book = Ledger(path)
        batch: list[CallRecord] = []
        for entry in book.unpriced():
            batch.append(entry)
            if len(batch) == _AT_ONCE:
                _price(book, batch, dry_run, calls, usd, left)
                batch = []
        _price(book, batch, dry_run, calls, usd, left)
    except LedgerError as error:
        fail(error)
    if json:
        print_json({"ledger": str(path), "changed": not dry_run, "calls": calls, "usd": usd, "unpriced": left})
        return
    _say(calls, usd, left, dry_run)


@app.command()
def push(
    to: Annotated[Literal["langfuse"], typer.Argument(help="Where to: langfuse.")],
    prices: PricesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, without writing it.")] = False,
) -> None:
    """Write own and corrected prices into Langfuse.

    They become its model definitions: your own prices, and the corrections of the price table. Langfuse then prices
    what it gets without a cost as Genledger does. It matches by the name of the model alone, and prices tokens alone:
    your other prices are left out, and listed. LANGFUSE_PUBLIC_KEY, LANGFUSE_SECRET_KEY and LANGFUSE_BASE_URL name the
    project. A later push replaces what an earlier one wrote.
    """
    from genledger.destinations.langfuse import model_prices
    from genledger.destinations.langfuse.api_client import LangfuseApiError
    from genledger.pricing.lookup import supplement

    _use(prices)
    own = () if prices is None else pricing.load_overrides(prices)
    corrections = [rule for rule in supplement() if rule.per_million and rule.model]
    found = model_prices.definitions((*own, *corrections))
    for name, reason in model_prices.definitions(own).left_out.items():
        tell(f"left out: {name}: {reason}")
    if dry_run:
        for model in found.models:
            rates = model.tiers[0].rates
            per_million = ", ".join(
                f"{name} {_rate(rates[name] * 1e6)}" for name in ("input", "output") if name in rates
            )
            tell(f"{model.name}: {per_million} USD per million tokens")
        tell(f"{number_of(len(found.models), 'model')} would be written to {to}")
        return
    try:
        where = model_prices.push(found.models)
    except LangfuseApiError as error:
        fail(error)
    tell(f"{number_of(len(found.models), 'model')} written to Langfuse at {where}")


def _price(
    book: Ledger, entries: list[CallRecord], dry_run: bool, calls: Counter[str], usd: Counter[str], left: Counter[str]
) -> None:
    priced: list[tuple[CallRecord, Cost]] = []
    for entry, cost in zip(entries, pricing.backfill(map(_recorded, entries)), strict=True):
        name = f"{entry.response_model or entry.request_model or 'no model'} at {entry.provider}"
        if isinstance(cost, str):
            left[f"{name} ({cost})"] += 1
        else:
            priced.append((entry, cost))
            calls[name] += 1
            usd[name] += cost.amount  # type: ignore[assignment]  # a Counter adds floats as well
    if priced and not dry_run:
        book.set_cost(priced)


def _recorded(entry: CallRecord) -> Recorded:
    return Recorded(
        provider=entry.provider,
        model=entry.response_model or entry.request_model,
        buckets=dict(entry.usage.buckets()) if entry.usage is not None else {},
        tier=entry.tier,
        at_ns=entry.started_ns,
        region=entry.region,
        requested=entry.request_model,
        base_url=f"https://{entry.server_address}" if entry.server_address else None,
    )


def _say(calls: Counter[str], usd: Counter[str], left: Counter[str], dry_run: bool) -> None:
    if not calls and not left:
        tell("No unpriced calls in the ledger.")
        return
    if calls:
        done = "would be" if dry_run else "now"
        tell(f"{number_of(calls.total(), 'call')} {done} priced: {money(sum(usd.values()), 4)}")
        table = new_table("model")
        for heading in ("calls", "cost"):
            add_numbers(table, heading)
        digits = digits_for(max(usd.values()))
        for name, number in calls.most_common():
            table.add_row(visible(name), f"{number:,}", money(usd[name], digits))
        console().print(table)
    if left:
        tell(f"{number_of(left.total(), 'call')} still unpriced:")
        for name, number in left.most_common():
            tell(f"  {number:,}  {name}")


def _use(prices: Path | None) -> None:
    try:
        pricing.configure(prices)
    except PriceFileError as error:
        fail(*error.lines)
