"""Cost of one call: what the provider reported, else the user's own price, else the price table."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from threading import Lock
from time import time_ns
from typing import NamedTuple

from genledger.pricing import price_file
from genledger.pricing.cost import Cost
from genledger.pricing.lookup import Day, resolve
from genledger.pricing.names import canonical_provider
from genledger.pricing.plausibility import settled
from genledger.pricing.rate_card import Card
from genledger.pricing.usage import TOKEN_BUCKETS, Usage
from genledger.shared.loggers import logger_of
from genledger.shared.text import MAX_NAME, bounded

_log = logger_of("genledger")

_NS_PER_SECOND = 1_000_000_000
_SECONDS_PER_DAY = 86_400
_RESOLVED = 2048
_WARNED = 512


@lru_cache(maxsize=_RESOLVED)
def _resolved(
    generation: int,
    provider: str,
    model: str,
    tier: str | None,
    day: int,
    region: str | None,
    base_url: str | None,
    requested: str | None,
) -> Day | str:
    """Resolved prices, and misses, by everything they depend on. `generation` retires those of old rules."""
    return resolve(provider, model, tier, day, region, base_url, requested)


def price(
    usage: Usage,
    *,
    provider: str,
    model: str | None,
    at_ns: int | None = None,
    tier: str | None = None,
    region: str | None = None,
    base_url: str | None = None,
    reported: float | None = None,
    notes: tuple[str, ...] = (),
    requested: str | None = None,
    context: int | None = None,
    also: tuple[tuple[str, Usage], ...] = (),
    partial: bool = False,
    shares: tuple[tuple[str, Usage], ...] = (),
) -> Cost | str:
    """Return the cost of one call in USD, or why there is none: one of `UNPRICED_REASONS`.

    `at_ns` is when the call was made, in nanoseconds since 1970 (UTC), now when `None`: prices have dates.
    The other arguments are a `Reading`'s fields of the same names. Never raises. Once a price is resolved
    for (provider, model, tier, day, region, base URL) the rest is arithmetic.
    """
    computed: Cost | str = "no_usage"
    if not partial:
        computed = _computed(
            usage, provider, model, at_ns, tier, region, base_url, notes, requested, context, also, shares
        )
    if reported is None and not notes:
        return computed
    try:
        return settled(reported, computed, usage, notes)
    except Exception:
        return _fault()


def _computed(
    usage: Usage,
    provider: str,
    model: str | None,
    at_ns: int | None,
    tier: str | None,
    region: str | None,
    base_url: str | None,
    notes: tuple[str, ...],
    requested: str | None,
    context: int | None,
    also: tuple[tuple[str, Usage], ...],
    shares: tuple[tuple[str, Usage], ...],
) -> Cost | str:
    """Return the cost by the user's own price or the table, or why there is none."""
    try:
        if model is None:
            model = requested or ""  # an endpoint with one model does not name it: its address may have a price
        seconds = (time_ns() if at_ns is None else at_ns) // _NS_PER_SECOND
        day, second = divmod(seconds, _SECONDS_PER_DAY)
        if len(model) > MAX_NAME or (requested is not None and len(requested) > MAX_NAME):
            return "unknown_model"
        found = _resolved(price_file.generation, provider, model, tier, day, region, base_url, requested)
        if shares and (len(shares) > 1 or isinstance(found, str) or "input" not in found[0][1].rates(0)):
            # A system has no rates of its own: its models have, and those of its tools are the same for all.
            (first, consumed), *rest = shares
            also = ((first, replace(consumed, units=usage.units)), *rest)
            return _sum(Cost(0.0, "table", (), None, notes), also, provider, at_ns, tier, region, base_url)
        if isinstance(found, str):
            return found
        card = found[0][1] if len(found) == 1 else at_second(found, second)
        cost = card.cost(usage, context, notes)
        if also and not isinstance(cost, str):
            return _sum(cost, also, provider, at_ns, tier, region, base_url)
        return cost
    except Exception:
        return _fault()


def _fault() -> str:
    _log.debug("genledger could not price a call", exc_info=True)
    return "error"


def at_second(day: Day, second: int) -> Card:
    """Return the rates that hold at a second of the day."""
    return day[bisect_right(day, second, key=_start) - 1][1]


def _start(segment: tuple[int, Card]) -> int:
    return segment[0]


def _sum(
    cost: Cost,
    also: tuple[tuple[str, Usage], ...],
    provider: str,
    at_ns: int | None,
    tier: str | None,
    region: str | None,
    base_url: str | None,
) -> Cost | str:
    """Return a cost with what other models consumed in the same call; `unknown_model` when it has no part at all."""
    for model, usage in also:
        cost = _with(cost, model, usage, provider, at_ns, tier, region, base_url)
    return cost if cost.parts else "unknown_model"


def _with(
    cost: Cost,
    model: str,
    usage: Usage,
    provider: str,
    at_ns: int | None,
    tier: str | None,
    region: str | None,
    base_url: str | None,
) -> Cost:
    """Return a cost with what another model consumed in the same call."""
    more = price(usage, provider=provider, model=model, at_ns=at_ns, tier=tier, region=region, base_url=base_url)
    if isinstance(more, str):
        return Cost(
            cost.amount, cost.source, cost.parts, cost.table_date, (*cost.notes, f"unpriced_model:{bounded(model)}")
        )
    notes = (*cost.notes, f"includes_model:{bounded(model)}", *more.notes)
    date = cost.table_date or more.table_date
    return Cost(cost.amount + more.amount, cost.source, cost.parts + more.parts, date, notes)


def max_price(
    provider: str,
    model: str,
    input_tokens: int,
    max_output_tokens: int,
    at_ns: int | None = None,
    *,
    tier: str | None = None,
    region: str | None = None,
    base_url: str | None = None,
    requested: str | None = None,
    units: Mapping[str, float] | None = None,
) -> float | None:
    """Return the most in USD that a call of this size can cost, or `None` if its price is unknown.

    Every input token at the highest of the uncached and cache-write rates, every output token at the highest
    of the text, reasoning and image rates, in the most expensive long-context band and time of day for this
    prompt, plus the billed units and the fee per request. Tool calls and media that are sent are not included,
    because they are not known before.
    """
    try:
        if len(model) > MAX_NAME:
            return None
        day = (time_ns() if at_ns is None else at_ns) // _NS_PER_SECOND // _SECONDS_PER_DAY
        found = _resolved(price_file.generation, provider, model, tier, day, region, base_url, requested)
        if isinstance(found, str):
            return None
        most: float | None = None
        for _, card in found:
            dearest = _most(card, input_tokens, max_output_tokens, units or {})
            most = dearest if most is None else max(most, dearest)
        return most
    except Exception:
        _log.debug("genledger could not bound the price of a call", exc_info=True)
        return None


def _most(card: Card, input_tokens: int, output_tokens: int, units: Mapping[str, float]) -> float:
    if card.free:
        return 0.0
    rates = card.rates(input_tokens)
    dearest_in = max(rates.get("input", 0.0), rates.get("cache_write", 0.0), rates.get("cache_write_1h", 0.0))
    dearest_out = max(rates.get("output", 0.0), rates.get("reasoning", 0.0), rates.get("output_image", 0.0))
    billed = rates.get("request", 0.0)
    for unit, count in units.items():
        billed += count * rates.get(unit, 0.0)
    return input_tokens * dearest_in + output_tokens * dearest_out + billed


_warned: OrderedDict[tuple[str, str, str], None] = OrderedDict()
_warned_lock = Lock()
_silenced = False


def warn_unpriced(provider: str, model: str | None, reason: str) -> None:
    """Warn on the logger `genledger`, once per provider and model, that calls have no cost.

    After 512 different models the warnings stop, with a last one that says so; the calls are still counted.
    """
    _warn_once(
        "No price for %s at %s (%s): the cost of its calls is unknown, not zero. Give it a price with "
        "GENLEDGER_PRICES or genledger.pricing.override(), or run `genledger prices update`.",
        provider,
        model,
        reason,
    )


def warn_rejected(provider: str, model: str | None, note: str) -> None:
    """Warn, in the same way, that a reported cost was rejected."""
    _warn_once(
        "The cost that is reported for %s at %s cannot be right (%s): such calls are priced by the price table. Give "
        "the model a price with GENLEDGER_PRICES or genledger.pricing.override() if the table is wrong.",
        provider,
        model,
        note,
    )


def _warn_once(message: str, provider: str, model: str | None, detail: str) -> None:
    global _silenced
    key = (message, provider[:MAX_NAME], (model or "")[:MAX_NAME])
    with _warned_lock:
        if _silenced or key in _warned:
            return
        _warned[key] = None
        if len(_warned) >= _WARNED:
            _silenced = True
            _warned.clear()
            last = True
        else:
            last = False
    if last:
        _log.warning("Genledger has warned about the prices of %d models and stops warning now.", _WARNED)
        return
    _log.warning(message, key[2] or "a call without a model name", canonical_provider(key[1]), detail)


class Recorded(NamedTuple):
    """Stored facts about a call. `buckets` are counts by bucket, as returned by `Usage.buckets()`."""

    provider: str
    model: str | None
    buckets: Mapping[str, float]
    tier: str | None
    at_ns: int
    region: str | None = None
    requested: str | None = None
    base_url: str | None = None


def backfill(
    rows: Iterable[Recorded | tuple[str, str | None, Mapping[str, float], str | None, int]],
) -> Iterator[Cost | str]:
    """Price recorded calls, each at its own time: for every row a cost, or why there is none.

    Rows are `Recorded`, or plain tuples of its first five fields. Buckets that are not tokens are units.
    """
    for row in rows:
        call = Recorded(*row)
        tokens = {name: int(call.buckets[name]) for name in TOKEN_BUCKETS if call.buckets.get(name)}
        units = {name: count for name, count in call.buckets.items() if name not in TOKEN_BUCKETS}
        yield price(
            Usage(**tokens, units=units),
            provider=call.provider,
            model=call.model,
            at_ns=call.at_ns,
            tier=call.tier,
            region=call.region,
            base_url=call.base_url,
            requested=call.requested,
        )
