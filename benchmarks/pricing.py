"""What pricing a call costs, and that unknown models do not fill the memory.

    python benchmarks/pricing.py

Prints the median of one `price` with a resolved price, of one `read_usage`, of one resolution, and by how much
memory grows over 100,000 different unknown models.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

from genledger.pricing import Usage, calculate, price, read_usage

CALLS = {
    "chat, 2 buckets": ("openai", "gpt-6.1-sol", Usage(input=1_000, output=500)),
    "chat, 4 buckets": ("openai", "gpt-6.1-sol", Usage(input=1_000, cache_read=8_000, output=400, reasoning=100)),
    "message, 6 buckets": (
        "anthropic",
        "claude-opus-5-5",
        Usage(10, cache_read=8_000, cache_write=300, cache_write_1h=20, output=500, units={"web_search": 2.0}),
    ),
    "prices by the hour": ("deepseek", "deepseek-flash", Usage(input=1_000, cache_read=8_000, output=500)),
}
ANSWER = {
    "model": "gpt-6.1-sol",
    "service_tier": "default",
    "usage": {
        "prompt_tokens": 9_000,
        "completion_tokens": 500,
        "total_tokens": 9_500,
        "prompt_tokens_details": {"cached_tokens": 8_000, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 0},
    },
}
UNKNOWN = 100_000


def median_us(work: Callable[[], object], number: int = 2_000, rounds: int = 25) -> float:
    """Microseconds of CPU per call: the median over rounds."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.process_time_ns()
        for _ in range(number):
            work()
        taken.append((time.process_time_ns() - start) / number / 1_000)
    return statistics.median(taken)


def main() -> None:
    now = time.time_ns()
    for name, (provider, model, usage) in CALLS.items():
        spent = median_us(
            lambda p=provider, m=model, u=usage: price(  # type: ignore[misc]
                u, provider=p, model=m, at_ns=now, base_url="https://api.example.com/v1"
            )
        )
        print(f"price     {name:22} {spent:8.2f} µs")
    print(f"read      {'chat answer':22} {median_us(lambda: read_usage('openai', 'chat', ANSWER)):8.2f} µs")

    days = iter(range(10**9))
    fresh = median_us(
        lambda: price(Usage(input=1), provider="openai", model="gpt-6.1-sol", at_ns=now - next(days) * 86_400 * 10**9),
        number=20,
        rounds=9,
    )
    print(f"resolve   {'once per model and day':22} {fresh:8.2f} µs")

    calculate._resolved.cache_clear()
    for number in range(3_000):
        price(Usage(input=1), provider="openai", model=f"warm-{number}", at_ns=now)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(UNKNOWN):
        price(Usage(input=1), provider="openai", model=f"unheard-of-{number}", at_ns=now)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory    {f'{UNKNOWN:,} unknown models':22} {grown / 1e3:8.2f} MB")


if __name__ == "__main__":
    main()
