"""ElevenLabs' endpoints: speech, sounds and music from text, transcripts, dubbing.

https://elevenlabs.io/docs/api-reference. Sound comes as bytes; headers have its id and what was billed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genledger.engine.content.capture import media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, listed, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked, default_model
from .openai_media import no_answer
from .recordings import UNKNOWN, seconds_of

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}
_IDENTIFIER = {"request-id": A.GEN_AI_RESPONSE_ID}
_TEXTS = ("text", "prompt", "description")
_ADDRESSES = ("source_url", "cloud_storage_url")


def longest_recording(body: Body) -> Mapping[str, Any]:
    """Return an answer about as much audio as a request can have."""
    sent = body.get("file")
    return {"audio_duration_secs": UNKNOWN if sent is None else seconds_of(sent)}


def read_transcription(answer: Any, attributes: Attributes) -> None:
    """Read under which id a transcript came."""
    write_texts(answer, (("transcription_id", A.GEN_AI_RESPONSE_ID),), attributes)


def read_dubbing(answer: Any, attributes: Attributes) -> None:
    """Read under which id a recording is dubbed."""
    write_texts(answer, (("dubbing_id", A.GEN_AI_RESPONSE_ID),), attributes)


def _said(body: Any) -> Iterator[str]:
    for part in (body, *listed(field(body, "inputs"))):
        yield from (said for name in _TEXTS if (said := text(field(part, name))) is not None)


def read_input(body: Body) -> Content:
    """Return the texts of a request, and the addresses of its recordings; one that is sent is left out."""
    parts: list[Any] = [text_part(said) for said in _said(body)]
    parts += [media_part("audio", body[name]) for name in _ADDRESSES if text(body.get(name)) is not None]
    return asked(parts)


def read_transcript(answer: Any) -> Content:
    """Return the transcript, or that of each channel."""
    parts = (answer, *listed(field(answer, "transcripts")))
    return answered([text_part(said) for part in parts for said in _said(part)])


SPEECH = Operation(
    name=S.SPEECH,
    api="speech",
    fields=_MODEL,
    request=default_model("eleven_multilingual_v2"),
    headers=_IDENTIFIER,
    constant={A.GEN_AI_OUTPUT_TYPE: "speech"},
    input=read_input,
    largest=no_answer,
)

DIALOGUE = SPEECH._replace(request=default_model("eleven_v3"))

SOUND = Operation(
    name=S.GENERATE_CONTENT,
    api="sound",
    fields=_MODEL,
    request=default_model("eleven_text_to_sound_v2"),
    headers=_IDENTIFIER,
    input=read_input,
    family="inference",
    largest=no_answer,
)

MUSIC = SOUND._replace(request=default_model("music_v1"))

VOICE_CHANGER = SOUND._replace(
    request=default_model("eleven_english_sts_v2"), constant={A.GEN_AI_OUTPUT_TYPE: "speech"}
)

ISOLATION = SOUND._replace(request=None, constant={A.GEN_AI_REQUEST_MODEL: "audio-isolation"})

TRANSCRIPTION = Operation(
    name=S.TRANSCRIPTION,
    api="transcriptions",
    fields=_MODEL,
    response=read_transcription,
    input=read_input,
    output=read_transcript,
    largest=longest_recording,
)

DUBBING = Operation(
    name=S.TRANSLATION,
    api="dubbing",
    constant={A.GEN_AI_REQUEST_MODEL: "dubbing"},
    response=read_dubbing,
    input=read_input,
)
