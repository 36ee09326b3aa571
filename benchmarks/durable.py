"""`python -m benchmarks.durable`: what durable mode costs on the thread that ends a span, in microseconds."""

from __future__ import annotations

import tempfile
import threading
import time
from statistics import fmean, median, quantiles
from typing import Annotated, Any, Literal

import typer
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint

MODES: dict[str, bool | Literal["fsync"]] = {"default": False, "durable": True, "fsync": "fsync"}
NOWHERE = "http://127.0.0.1:9/v1/traces"
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 300,
    "genledger.cost.amount": 0.0042,
}


def ends(
    durable: bool | Literal["fsync"], threads: int, calls: int, content: int, pause_s: float
) -> tuple[list[float], list[float]]:
    """End spans with `content` bytes of messages; the microseconds that each end took, and of processor time."""
    with tempfile.TemporaryDirectory(prefix="durable-bench-") as directory:
        destination = OtlpDestination(
            OtlpEndpoint(NOWHERE), spool=directory, durable=durable, limits=Limits(queue_spans=10**6)
        )
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(destination.processor)
        tracer = provider.get_tracer("benchmark")
        attributes: dict[str, Any] = {**CALL, "gen_ai.output.messages": "word " * (content // 5)}
        took: list[float] = []
        worked: list[float] = []

        def work() -> None:
            for _ in range(calls // threads):
                span = tracer.start_span("chat gpt-4o", attributes=attributes)
                began, before = time.thread_time_ns(), time.perf_counter_ns()
                span.end()
                took.append((time.perf_counter_ns() - before) / 1e3)
                worked.append((time.thread_time_ns() - began) / 1e3)
                time.sleep(pause_s)

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        destination.shutdown(0.1)
        return took, worked


def main(
    calls: Annotated[int, typer.Option(help="Spans in each row.")] = 2_000,
    content: Annotated[int, typer.Option(help="Bytes of messages in each span.")] = 1_000,
    pause_ms: Annotated[float, typer.Option(help="Milliseconds that a thread waits between two spans.")] = 1.0,
) -> None:
    """Measure `Span.end()` with a receiver that is down, so that everything is kept on disk."""
    print(f"{'mode':10}{'threads':>8}{'median':>10}{'mean':>10}{'p99':>10}{'processor':>11}")
    for threads in (1, 8):
        for mode, durable in MODES.items():
            took, worked = ends(durable, threads, calls, content, pause_ms / 1e3)
            p99 = quantiles(took, n=100)[-1]
            print(f"{mode:10}{threads:>8}{median(took):>10.1f}{fmean(took):>10.1f}{p99:>10.1f}{median(worked):>11.1f}")


if __name__ == "__main__":
    typer.run(main)
