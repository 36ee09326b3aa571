"""Deepgram's endpoints: listen, speak and read.

https://developers.deepgram.com/reference. An answer counts seconds of audio, and the tokens of what analyzed its text;
that to text to speech is sound, and counts its characters in a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, listed, text, write_texts
from genledger.pricing.getters import field, fields_of, path
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked, default_model
from .openai_media import no_answer
from .recordings import UNKNOWN, seconds_of

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}

_CHANNELS = 2
"""Channels that a recording has at most, where each is transcribed by itself."""


def longest_recording(body: Body) -> Mapping[str, Any]:
    """Return an answer about as much audio as a request can have."""
    sent = body.get("content")
    seconds = UNKNOWN if sent is None else seconds_of(sent)
    return {"metadata": {"duration": seconds, "channels": _CHANNELS if body.get("multichannel") else 1}}


def read_metadata(answer: Any, attributes: Attributes) -> None:
    """Read under which id an answer came, and the first of the models that made it."""
    metadata = field(answer, "metadata")
    write_texts(metadata, (("request_id", A.GEN_AI_RESPONSE_ID),), attributes)
    for model in fields_of(field(metadata, "model_info")).values():
        write_texts(model, (("name", A.GEN_AI_RESPONSE_MODEL),), attributes)
        break


def read_text(body: Body) -> Content:
    """Return the text that is spoken or analyzed."""
    said = text(body.get("text"))
    return asked([text_part(said)] if said is not None else [])


def read_recording(body: Body) -> Content:
    """Return the address of a recording; one that is sent is left out."""
    address = text(body.get("url"))
    return asked([media_part("audio", address)] if address is not None else [])


def read_transcript(answer: Any) -> Content:
    """Return the best transcript of each channel."""
    channels = (listed(field(channel, "alternatives")) for channel in listed(path(answer, "results", "channels")))
    said = [text(field(found[0], "transcript")) for found in channels if found]
    return answered([text_part(one) for one in said if one is not None])


def read_summary(answer: Any) -> Content:
    """Return the summary of a text."""
    summary = text(path(answer, "results", "summary", "text"))
    return answered([text_part(summary)] if summary is not None else [])


LISTEN = Operation(
    name=S.TRANSCRIPTION,
    api="transcriptions",
    fields=_MODEL,
    request=default_model("base-general"),
    response=read_metadata,
    input=read_recording,
    output=read_transcript,
    largest=longest_recording,
)

SPEAK = Operation(
    name=S.SPEECH,
    api="speech",
    fields=_MODEL,
    request=default_model("aura-asteria-en"),
    constant={A.GEN_AI_OUTPUT_TYPE: "speech"},
    headers={"dg-request-id": A.GEN_AI_RESPONSE_ID, "dg-model-name": A.GEN_AI_RESPONSE_MODEL},
    input=read_text,
    largest=no_answer,
)

SPEAK_2 = SPEAK._replace(request=None)

READ = Operation(
    name=S.GENERATE_CONTENT,
    api="read",
    # The API has no models to choose from; this is the product's name.
    constant={A.GEN_AI_REQUEST_MODEL: "text-intelligence"},
    response=read_metadata,
    input=read_text,
    output=read_summary,
    family="inference",
)
