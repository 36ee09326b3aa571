"""AssemblyAI's transcripts, which are jobs, and what its LLM gateway adds to OpenAI's chat format.

https://www.assemblyai.com/docs/api-reference/transcripts/submit. They are billed by the second of the recording and by
the model that was used; a transcript that failed is not billed (https://www.assemblyai.com/docs/billing-and-pricing).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, text, write_texts
from genledger.pricing.getters import field, label
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked
from .openai_chat import CHAT as OPENAI_CHAT
from .recordings import UNKNOWN


def read_transcript(transcript: Any) -> dict[str, Any]:
    """Return what a transcript says of its job, as an answer."""
    failed = label(transcript, "status") == "error"
    return {
        "id": field(transcript, "id"),
        "model": label(transcript, "speech_model_used", "speech_model"),
        "text": field(transcript, "text"),
        "failed": failed,
        "duration": None if failed else field(transcript, "audio_duration"),
    }


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the id, the model that was used, and whether it failed."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("model", A.GEN_AI_RESPONSE_MODEL)), attributes)
    if field(answer, "failed"):
        attributes[A.ERROR_TYPE] = "failed"


def read_input(body: Body) -> Content:
    """Return the address of the recording."""
    address = text(body.get("audio_url"))
    return asked([media_part("audio", address)] if address is not None else [])


def read_output(answer: Any) -> Content:
    """Return what was said."""
    said = text(field(answer, "text"))
    return answered([text_part(said)] if said is not None else [])


def longest_recording(body: Body) -> Mapping[str, Any]:
    """Return an answer about a recording, whose length is not known before."""
    return {"duration": UNKNOWN}


TRANSCRIPT = Operation(
    name=S.TRANSCRIPTION,
    api="transcriptions",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    response=read_response,
    input=read_input,
    output=read_output,
    largest=longest_recording,
)


def read_completion(answer: Any, attributes: Attributes) -> None:
    """Read a chat; one that is not streamed has another id."""
    write_texts(answer, (("request_id", A.GEN_AI_RESPONSE_ID),), attributes)
    if OPENAI_CHAT.response is not None:
        OPENAI_CHAT.response(answer, attributes)


CHAT = OPENAI_CHAT._replace(response=read_completion)
