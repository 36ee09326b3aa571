"""Usage of a call, in buckets that never overlap.

Providers disagree on whether `input_tokens` includes the cached tokens and whether `output_tokens`
includes the reasoning tokens. Here every token is in exactly one bucket; the inclusive totals of the
GenAI conventions and the exclusive details of Langfuse are both projections of this record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

INPUT_BUCKETS = (
    "input",
    "input_audio",
    "input_image",
    "cache_read",
    "cache_read_audio",
    "cache_read_image",
    "cache_write",
    "cache_write_1h",
)
"""Token buckets that add up to the conventions' `gen_ai.usage.input_tokens`."""

OUTPUT_BUCKETS = ("output", "reasoning", "output_audio", "output_image")
"""Token buckets that add up to the conventions' `gen_ai.usage.output_tokens`."""

TOKEN_BUCKETS = INPUT_BUCKETS + OUTPUT_BUCKETS

DEVICE_SECONDS = "device_second"
"""The unit of the time that a call kept the machine's device busy: what a machine costs by the hour is priced by it."""

MEASURES = frozenset({DEVICE_SECONDS, "item"})
"""Units that measure a call of a model in this process in another way than its tokens do: a price needs one of them."""

NO_UNITS: Mapping[str, float] = MappingProxyType({})
"""The units of what is billed by tokens alone."""


@dataclass(slots=True)
class Usage:
    """Mutually exclusive counts of one call's usage. Do not change an instance.

    (The class is not frozen, because freezing triples the time to create one, on the path of every call.)

    Every token field is a count of tokens, never negative. `input` is text (or unspecified) input that was
    neither read from nor written to a cache; `output` is output that is neither reasoning, audio nor image.
    `cache_write` is a write with the provider's default lifetime (five minutes at Anthropic),
    `cache_write_1h` one with the lifetime of an hour.

    `units` counts what is billed by something other than tokens: `web_search`, `file_search`,
    `code_session`, `search_unit`, `second`, `character`, `image`, `page`, `request`; and, for a model in this
    process, `device_second` and `item`: the texts that it embedded, or the documents that it ordered.
    """

    input: int = 0
    input_audio: int = 0
    input_image: int = 0
    cache_read: int = 0
    cache_read_audio: int = 0
    cache_read_image: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    units: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Usage) -> Usage:
        """Return the combined usage of two calls."""
        units = dict(self.units)
        for unit, count in other.units.items():
            units[unit] = units.get(unit, 0) + count
        tokens = {name: getattr(self, name) + getattr(other, name) for name in TOKEN_BUCKETS}
        return Usage(**tokens, units=units or NO_UNITS)

    @property
    def input_tokens(self) -> int:
        """All input tokens, cached ones included: the conventions' `gen_ai.usage.input_tokens`."""
        return (
            self.input
            + self.input_audio
            + self.input_image
            + self.cache_read
            + self.cache_read_audio
            + self.cache_read_image
            + self.cache_write
            + self.cache_write_1h
        )

    @property
    def output_tokens(self) -> int:
        """All output tokens, reasoning included: the conventions' `gen_ai.usage.output_tokens`."""
        return self.output + self.reasoning + self.output_audio + self.output_image

    @property
    def cache_read_tokens(self) -> int:
        """Input tokens served from a cache, of any modality."""
        return self.cache_read + self.cache_read_audio + self.cache_read_image

    @property
    def cache_write_tokens(self) -> int:
        """Input tokens written to a cache, of any lifetime."""
        return self.cache_write + self.cache_write_1h

    @property
    def total_tokens(self) -> int:
        """Return input and output tokens together."""
        return self.input_tokens + self.output_tokens

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Each bucket that is not empty, tokens first, then billable units."""
        for name in TOKEN_BUCKETS:
            count = getattr(self, name)
            if count:
                yield name, count
        for name, units in self.units.items():
            if units:
                yield name, units
