"""The encoder and the decoder of event streams, held against botocore's own parser."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.event_stream import frame, frames

eventstream = pytest.importorskip("botocore.eventstream")

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20)


@settings(deadline=None)
@given(st.lists(st.tuples(st.dictionaries(NAMES, st.text(max_size=30), max_size=4), st.binary(max_size=200))))
def test_botocore_reads_every_message_as_it_was_written(messages: list[tuple[dict[str, str], bytes]]) -> None:
    encoded = b"".join(frame(headers, payload) for headers, payload in messages)
    buffer = eventstream.EventStreamBuffer()
    buffer.add_data(encoded)
    assert [(message.headers, message.payload) for message in buffer] == messages
    assert list(frames(encoded)) == messages
