"""What a delivery says about itself while its thread is at work."""

from __future__ import annotations

import threading

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from genledger.destinations.allowance import Allowance
from genledger.destinations.intake import Ended
from genledger.destinations.pipeline import Delivery
from genledger.destinations.sampling import TraceSampling
from genledger.destinations.sender import HttpSender
from standins.receivers import Collector


class Meanwhile(TraceSampling):
    """Lets the delivery's thread begin a round in the middle of somebody's asking whether all is delivered."""

    def __init__(self, begin: threading.Event, reached: threading.Event) -> None:
        super().__init__(Allowance())
        self._begin, self._reached = begin, reached

    def held(self) -> int:
        self._begin.set()
        assert self._reached.wait(10)
        return super().held()


def test_a_span_that_has_left_the_queue_but_is_not_yet_sent_counts_as_waiting(
    collector: Collector, provider: TracerProvider
) -> None:
    begin, reached, go_on = threading.Event(), threading.Event(), threading.Event()

    def translate(ended: Ended) -> ReadableSpan:
        reached.set()
        assert go_on.wait(10)
        return ended.span

    delivery = Delivery(
        "otlp",
        HttpSender(f"{collector.base_url}/v1/traces", {}),
        translate,
        sampling=Meanwhile(begin, reached),
        threaded=False,
    )
    span = provider.get_tracer("app").start_span("chat")
    span.end()
    assert isinstance(span, ReadableSpan)
    delivery.offer(Ended(span, None))

    def work() -> None:
        assert begin.wait(10)
        delivery.step()

    thread = threading.Thread(target=work)
    thread.start()
    assert not delivery.is_idle()
    go_on.set()
    thread.join(10)
    assert delivery.is_idle()
    assert [sent.name for sent in collector.spans()] == ["chat"]
    delivery.shutdown()
