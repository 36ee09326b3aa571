"""A resolved price: rates per bucket, and the arithmetic from usage to cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from genledger.pricing.cost import Cost, CostSource, Part
from genledger.pricing.usage import INPUT_BUCKETS, MEASURES, TOKEN_BUCKETS, Usage

_token_counts = attrgetter(*TOKEN_BUCKETS)
_N_INPUT = len(INPUT_BUCKETS)
_part = tuple.__new__
"""Makes a `Part` without the detour over its constructor: this runs for every bucket of every call."""

_FALLBACK = {
    "cache_read": ("input",),
    "cache_write": ("input",),
    "cache_write_1h": ("cache_write", "input"),
    "input_audio": ("input",),
    "input_image": ("input",),
    "cache_read_audio": ("cache_read", "input_audio", "input"),
    "cache_read_image": ("cache_read", "input_image", "input"),
    "reasoning": ("output",),
    "output_audio": ("output",),
    "output_image": ("output",),
}
_AUDIO = ("input_audio", "output_audio")

Rates = dict[str, float]
"""USD for one token or one unit, by bucket."""

Bands = tuple[tuple[int, Rates], ...]
"""Rates by prompt size: (more tokens than this, rates), ascending; the first band starts at -1, for all."""


def complete(rates: Mapping[str, float]) -> Rates:
    """Rates for every token bucket.

    What has no rate of its own is billed like what it is a kind of: cached, audio and image input like
    input, reasoning and media output like output. A price with input but no output rate (embeddings, rerank)
    has free output. Audio that is billed by the second is not billed again by the token.
    """
    full = dict(rates)
    if "second" in full:
        full.setdefault("input_audio", 0.0)
    if "input" in full:
        full.setdefault("output", 0.0)
    for bucket, kinds in _FALLBACK.items():
        if bucket not in full:
            known = next((kind for kind in kinds if kind in full), None)
            if known is not None:
                full[bucket] = full[known]
    return full


def distinct(rates: Mapping[str, float]) -> set[str]:
    """Return the buckets that are not billed like what they are a kind of."""
    return {
        bucket
        for bucket, rate in rates.items()
        if rate != next((rates[kind] for kind in _FALLBACK.get(bucket, ()) if kind in rates), None)
    }


@dataclass(slots=True, frozen=True)
class Card:
    """One model's rates for one provider, tier, region and moment.

    `bands` are complete rates by prompt size: a band applies to the whole call when the prompt, cached
    tokens included, has more tokens than the band's start. `free` marks a model that is known to cost
    nothing. `audio_at_text_rate` names audio buckets that only have the text rate.
    """

    bands: Bands
    source: CostSource
    table_date: str | None = None
    notes: tuple[str, ...] = ()
    free: bool = False
    audio_at_text_rate: frozenset[str] = frozenset()

    def rates(self, prompt: int) -> Rates:
        """Return the rates for a prompt of this many tokens."""
        bands = self.bands
        at = len(bands) - 1
        while at and prompt <= bands[at][0]:
            at -= 1
        return bands[at][1]

    def cost(self, usage: Usage, context: int | None, notes: tuple[str, ...]) -> Cost | str:
        """Return the cost of a usage, or the reason why there is none: `no_usage` or `no_rate`."""
        counts = _token_counts(usage)
        units = usage.units
        if len(self.bands) == 1:
            rates = self.bands[0][1]
        else:
            rates = self.rates(sum(counts[:_N_INPUT]) if context is None else context)
        parts: list[Part] = []
        amount = 0.0
        used = unpriced = False
        free = self.free
        for bucket, count in zip(TOKEN_BUCKETS, counts, strict=True):
            if count:
                used = True
                rate = rates.get(bucket)
                if rate is None:
                    if not free:
                        unpriced = True
                        continue
                    rate = 0.0
                charge = count * rate
                amount += charge
                parts.append(_part(Part, (bucket, count, rate, charge)))
        for unit, quantity in units.items() if units else ():
            if quantity:
                used = True
                rate = rates.get(unit)
                if rate is None:
                    if not free:
                        if unit not in MEASURES:
                            notes += (f"unpriced_unit:{unit}",)
                        continue
                    rate = 0.0
                charge = quantity * rate
                amount += charge
                parts.append(_part(Part, (unit, quantity, rate, charge)))
        if not used:
            return "no_usage"
        if "request" in rates and "request" not in units:
            fee = rates["request"]
            amount += fee
            parts.append(Part("request", 1, fee, fee))
        # Tokens without a rate are free where tokens are not what is billed, and unknown where they are.
        if not parts or (unpriced and "output" in rates):
            return "no_rate"
        for bucket in _AUDIO:
            if getattr(usage, bucket) and bucket in self.audio_at_text_rate:
                notes += (f"{bucket}_at_text_rate",)
        if self.notes:
            notes += self.notes
        return Cost(amount, self.source, tuple(parts), self.table_date, notes)


def card(
    bands: Bands,
    source: CostSource,
    *,
    table_date: str | None = None,
    notes: tuple[str, ...] = (),
    free: bool = False,
) -> Card:
    """Return a `Card` from rates as they are published, gaps and all."""
    base = bands[0][1]
    return Card(
        tuple((start, complete(rates)) for start, rates in bands),
        source,
        table_date,
        notes,
        free,
        frozenset(bucket for bucket in _AUDIO if bucket not in base and "second" not in base),
    )
