"""Caches that the application makes of a part of its prompts: billed by their tokens and how long they are kept.

https://ai.google.dev/api/caching
"""

from __future__ import annotations

from genledger.engine.operation import Operation, text
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .gemini_content import read_input

CREATE_CACHE = Operation(
    name=S.CREATE_CACHE,
    api="cachedContents",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    input=read_input,
)
