"""LiteLLM's library to Anthropic: by requests of its own. A stream says its usage, also where nobody asks for it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.contract.rows import anthropic_messages
from tests.contract.rows.litellm_openai import ROW as OPENAI
from tests.contract.rows.litellm_openai import ask

_THEIRS = anthropic_messages.ROW

ROW = replace(
    OPENAI,
    call=partial(ask, model=f"anthropic/{_THEIRS.model}"),
    whole=_THEIRS.whole,
    events=_THEIRS.events,
    provider=_THEIRS.provider,
    model=_THEIRS.model,
    usage=_THEIRS.usage,
    cost=_THEIRS.cost,
    error=_THEIRS.error,
    cheaper=_THEIRS.cheaper,
    retries=True,
)
