"""An application that is killed: the process that the tests of durability run.

It forks itself again and again; each child records calls as fast as it can, and writes the ids of those that
have returned to a pipe; the parent kills it at a random moment. Prints, as JSON, the ids of each child.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint


def record_calls(url: str, spool: str, durable: bool, out: int) -> None:
    destination = OtlpDestination(
        OtlpEndpoint(url), spool=spool, durable=durable, limits=Limits(delay_s=0.005, batch_spans=16)
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    tracer = provider.get_tracer("app")
    while True:
        span = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        span.end()
        os.write(out, b"%032x%016x\n" % (span.get_span_context().trace_id, span.get_span_context().span_id))
        time.sleep(0.0005)


def main() -> None:
    url, spool, durable, times, seed = sys.argv[1], sys.argv[2], sys.argv[3] == "durable", *map(int, sys.argv[4:6])
    moments = random.Random(seed)
    returned = []
    for _ in range(times):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            record_calls(url, spool, durable, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            first = pipe.readline()
            time.sleep(moments.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            lines = [first, *pipe.read().split(b"\n")]
        os.waitpid(child, 0)
        returned.append([line.strip().decode() for line in lines if len(line.strip()) == 48])
    print(json.dumps(returned))


if __name__ == "__main__":
    main()
