"""An application that is killed: it forks itself for each line that it is given, and prints the process's number.

A line is JSON: where the receiver is, where the spool, whether calls are durable, and a file for what was made. Each
child records calls, and appends the ids of each that has returned, with the time, until it is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint

BETWEEN_CALLS_S = 0.02
LONGEST_LIFE_S = 120.0


def record_calls(order: dict[str, Any]) -> None:
    """Record calls until somebody kills this process, or has forgotten it."""
    destination = OtlpDestination(
        OtlpEndpoint(order["url"], timeout_s=order["timeout_s"]),
        spool=order["spool"],
        durable=order["durable"],
        limits=Limits(),
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    tracer = provider.get_tracer("app")
    made = os.open(order["made"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    end = time.monotonic() + LONGEST_LIFE_S
    while time.monotonic() < end:
        span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        span.end()
        context = span.get_span_context()
        os.write(made, b"%032x%016x %d\n" % (context.trace_id, context.span_id, time.monotonic_ns()))
        time.sleep(BETWEEN_CALLS_S)


def main() -> None:
    """Fork as often as asked."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            record_calls(json.loads(line))
            os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
