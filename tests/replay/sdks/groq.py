"""Groq's library, generated as OpenAI's is; its endpoints begin where Groq's own names do."""

from __future__ import annotations

from functools import partial
from typing import Any

import groq

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /openai/v1/chat/completions       chat.completions.create       generates
POST   /openai/v1/embeddings             embeddings.create             billed
POST   /openai/v1/audio/speech           audio.speech.create           billed
POST   /openai/v1/audio/transcriptions   audio.transcriptions.create   billed
POST   /openai/v1/audio/translations     audio.translations.create     billed
GET    /openai/v1/models                 models.list
"""

_METHODS = stainless.Methods(groq.Groq(api_key="test"), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("groq", recording.origin + route.prefix), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Groq."""
    kind: Any = groq.AsyncGroq if asynchronous else groq.Groq
    return kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))


SDK = Sdk(
    package="groq",
    library="groq",
    sends=lambda provider, operation: provider == "groq",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "groq"),
    client=client,
    ways=_METHODS.ways,
)
