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
ANSWERS = {
    "chat": {
        "model": "gpt-6.1-sol",
        "service_tier": "default",
        "usage": {
            "prompt_tokens": 9_000,
            "completion_tokens": 500,
            "total_tokens": 9_500,
            "prompt_tokens_details": {"cached_tokens": 8_000, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 0},
        },
    },
    "responses": {
        "model": "gpt-6.1-sol",
        "output": [{"type": "reasoning"}, {"type": "message"}],
        "service_tier": "default",
        "usage": {
            "input_tokens": 9_000,
            "input_tokens_details": {"cached_tokens": 8_000},
            "output_tokens": 500,
            "output_tokens_details": {"reasoning_tokens": 100},
            "total_tokens": 9_500,
        },
    },
    "messages": {
        "model": "claude-opus-5-5",
        "usage": {
            "input_tokens": 1_000,
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 8_000,
            "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 500,
            "service_tier": "standard",
        },
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
    for api, answer in ANSWERS.items():
        provider, request = "anthropic" if api == "messages" else "openai", {"model": answer["model"]}
        base_url = f"https://api.{provider}.com/v1"
        spent = median_us(
            lambda p=provider, a=api, body=answer, r=request, u=base_url: read_usage(  # type: ignore[misc]
                p, a, body, r, base_url=u
            )
        )
        print(f"read      {api:22} {spent:8.2f} µs")

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
