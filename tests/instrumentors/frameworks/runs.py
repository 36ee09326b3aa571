"""What a framework's run left behind: its tree, and what a naive backend adds up over all its spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from examples.demo.provider import DemoProvider
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.telemetry import Telemetry, attributes_of

_INPUT = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
_OUTPUT = (
    *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("llm.token_count.completion", "llm.usage.completion_tokens"),
)
_COST = ("genledger.cost.amount", "gen_ai.usage.cost", "operation.cost", "llm.cost.total")


class Totals(NamedTuple):
    """Tokens that were billed, or that spans show."""

    input: int
    output: int


def tree(
    spans: Iterable[ReadableSpan],
    shown: Callable[[ReadableSpan], str] = lambda span: span.name,
    kept: Callable[[ReadableSpan], bool] = lambda span: True,
) -> str:
    """Return the spans as an indented text, in the order that they began; orphans are at the margin.

    Those that are not kept are left out, and what is inside of them belongs to what is around them.
    """
    known = {span.context.span_id: span for span in spans if span.context is not None}

    def depth(span: ReadableSpan) -> int:
        around = known.get(span.parent.span_id) if span.parent is not None else None
        return 0 if around is None else kept(around) + depth(around)

    ordered = sorted(filter(kept, known.values()), key=lambda span: span.start_time or 0)
    return "".join(f"{'  ' * depth(span)}{shown(span)}\n" for span in ordered)


def is_step_or_call(span: ReadableSpan) -> bool:
    """Return whether a span is in the conventions' words, or in ours: the rest is a framework's plumbing."""
    return not {"gen_ai.operation.name", "genledger.operation.kind"}.isdisjoint(span.attributes or {})


def traces(spans: Iterable[ReadableSpan]) -> int:
    """Return how many traces there are."""
    return len({span.context.trace_id for span in spans if span.context is not None})


def _first(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), 0)


def shown(spans: Iterable[ReadableSpan]) -> Totals:
    """Return the tokens over all spans, in whichever instrumentation's words: what a naive backend adds up."""
    found = [attributes_of(span) for span in spans]
    return Totals(sum(_first(one, _INPUT) for one in found), sum(_first(one, _OUTPUT) for one in found))


def cost_shown(spans: Iterable[ReadableSpan]) -> float:
    """Return the USD over all spans, likewise."""
    return float(sum(_first(attributes_of(span), _COST) for span in spans))


def billed(provider: DemoProvider) -> Totals:
    """Return the tokens that the provider charged for, whichever of its formats it was asked in."""
    used = [request.usage for request in provider.requests if request.usage is not None]
    return Totals(
        sum(one.get("prompt_tokens") or one.get("input_tokens") or one.get("promptTokenCount") or 0 for one in used),
        sum(
            one.get("completion_tokens") or one.get("output_tokens") or one.get("candidatesTokenCount") or 0
            for one in used
        ),
    )


@contextmanager
def nothing_left(telemetry: Telemetry) -> Iterator[None]:
    """Assert that no span stays open and that we had nothing to complain about."""
    yield
    assert not telemetry.open.spans
    assert not telemetry.complaints.other
