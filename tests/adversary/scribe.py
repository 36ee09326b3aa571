"""A process that writes calls to a ledger until its standard input ends: `python scribe.py LEDGER INDEX`.

Prints `ready` when it begins, and in the end what it made of them, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import threading

from genledger.context.attribution import Attribution
from genledger.destinations.ledger import LedgerDestination
from genledger.engine.record import CallRecord
from genledger.pricing.cost import Cost


def call(number: int, chance: random.Random) -> CallRecord:
    return CallRecord(
        trace_id=chance.getrandbits(128) or 1,
        span_id=number,
        parent_span_id=None,
        library="openai",
        provider="openai",
        operation="chat",
        request_model="gpt-5",
        response_model="gpt-5",
        response_id=None,
        started_ns=number,
        duration_s=0.1,
        time_to_first_chunk_s=None,
        stream=False,
        outcome="success",
        error_type=None,
        attempts=1,
        retry_causes=(),
        attribution=Attribution(tenant="acme"),
        usage=None,
        usage_estimated=False,
        cost=Cost(0.01, "table"),
        unpriced=None,
        server_address=None,
        server_port=None,
    )


def main() -> None:
    path, index = sys.argv[1], int(sys.argv[2])
    chance = random.Random(index)
    destination = LedgerDestination(path, max_age_days=None, max_bytes=None)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    print("ready", flush=True)
    made = 0
    at_once = (1, 20, 200)[index % 3]
    while not stop.wait(0.005):
        if destination.stats()["waiting"] < 2_000:
            for _ in range(at_once):
                made += 1
                destination.accept(call(index * 10**9 + made, chance))
    destination.flush(60)
    destination.shutdown(60)
    print(json.dumps({"made": made, **destination.stats()}))


if __name__ == "__main__":
    main()
