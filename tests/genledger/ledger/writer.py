"""Run as a process of its own: `writer.py PATH FIRST COUNT AT_ONCE` writes COUNT calls, numbered from FIRST.

Says `FIRST` + n on standard output after each write that has come back, and when that write began and ended.
"""

from __future__ import annotations

import sys
import time

from genledger.context.attribution import NOBODY
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger
from genledger.pricing.cost import Cost


def call(number: int) -> CallRecord:
    return CallRecord(
        trace_id=number,
        span_id=number,
        parent_span_id=None,
        library="openai",
        provider="openai",
        operation="chat",
        request_model=None,
        response_model=None,
        response_id=None,
        started_ns=number,
        duration_s=0.0,
        time_to_first_chunk_s=None,
        stream=False,
        outcome="success",
        error_type=None,
        attempts=1,
        retry_causes=(),
        attribution=NOBODY,
        usage=None,
        usage_estimated=False,
        cost=Cost(0.01, "table"),
        unpriced=None,
        server_address=None,
        server_port=None,
    )


if __name__ == "__main__":
    ledger = Ledger(sys.argv[1])
    first, count, at_once = map(int, sys.argv[2:])
    sys.stdin.readline()
    for number in range(first, first + count, at_once):
        calls = [call(one) for one in range(number, number + at_once)]
        began = time.monotonic()
        ledger.write(calls)
        print(number + at_once, began, time.monotonic(), flush=True)
