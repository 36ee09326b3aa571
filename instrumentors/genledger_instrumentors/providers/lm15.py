"""lm15, DSPy's own HTTP client since 3.4: one request in the format of whichever provider it goes to.

https://github.com/stanfordnlp/dspy (`dspy/_vendor/lm15`). DSPy sends failed requests again: each is a call.
"""

from __future__ import annotations

from genledger.instrumentation.adapters.line_streams import LineStreamClient

from ..formats.lm15_requests import cause_of, read_request, write

_SYNC, _ASYNC = "dspy._vendor.lm15.providers.base", "dspy._vendor.lm15.providers.async_base"

CLIENT = LineStreamClient(
    library="dspy",
    sends=((_SYNC, "BaseProviderLM._send"), (_ASYNC, "AsyncBaseProviderLM._send")),
    streams=((_SYNC, "BaseProviderLM._stream_raw"), (_ASYNC, "AsyncBaseProviderLM._stream_raw")),
    parsers=((_SYNC, "parse_sse"), (_ASYNC, "aparse_sse")),
    request=read_request,
    write=write,
    cause=cause_of,
)
