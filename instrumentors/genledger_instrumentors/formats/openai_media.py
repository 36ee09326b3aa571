"""Images and audio: made, edited, spoken and transcribed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Attributes, Body, Operation, integer, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_fields import read_answer
from .recordings import seconds_of

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}


def _image_defaults(body: Body, attributes: Attributes) -> None:
    attributes[A.GEN_AI_OUTPUT_TYPE] = "image"
    # The endpoint's documented default, which decides the price.
    attributes.setdefault(A.GEN_AI_REQUEST_MODEL, "dall-e-2")


class LastEvent:
    """Streams of images and audio: the event that ends them carries the usage."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: Any = None
        self._usage: Any = None
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            self._last = event
            delta = field(event, "delta")
            if isinstance(delta, str):
                self._length += length_of(delta)
            usage = field(event, "usage")
            if usage is not None:
                self._usage = usage

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a response."""
        return {"usage": self._usage, "text": field(self._last, "text")}

    def text_length(self) -> int:
        """Return bytes transcribed so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the event with the usage has come."""
        return self._usage is not None

    @property
    def complete(self) -> bool:
        """Return whether the event that ends the stream has come."""
        kind = field(self._last, "type")
        return isinstance(kind, str) and kind.endswith((".completed", ".done"))


IMAGE_TOKENS = 6240
"""Output tokens of the dearest image: GPT Image's high quality in portrait. https://platform.openai.com/docs/guides/images"""


def largest_images(body: Body) -> tuple[Mapping[str, Any], ...]:
    """Return answers with as many images as are asked for: billed by the image, and by tokens, as the dearest ones."""
    count = body.get("n")
    count = count if type(count) is int and 0 < count <= 10 else 1
    images: Mapping[str, Any] = {"data": [{}] * count}
    if "dall-e" in str(body.get("model") or ""):
        return (images,)
    tokens = IMAGE_TOKENS * count
    return images, {"usage": {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}}


def counted_images(body: Body) -> Mapping[str, Any]:
    """Return an answer with as many images as are asked for."""
    return {"data": [{}] * min(max(integer(body.get("n")) or 1, 1), 10)}


def no_answer(body: Body) -> Mapping[str, Any]:
    """Return an empty answer: the request alone says what is billed."""
    return {}


IMAGES = Operation(
    name=S.IMAGE_GENERATION,
    api="images",
    fields=_MODEL,
    request=_image_defaults,
    response=read_answer,
    largest=largest_images,
    accumulate=LastEvent,
)

COUNTED_IMAGES = IMAGES._replace(
    request=None, constant={A.GEN_AI_OUTPUT_TYPE: "image"}, largest=counted_images, accumulate=None
)
"""Images of who bills each, or its pixels."""

SPEECH = Operation(
    name=S.SPEECH,
    api="speech",
    fields=_MODEL,
    constant={A.GEN_AI_OUTPUT_TYPE: "speech"},
    accumulate=LastEvent,
    largest=no_answer,
)


def longest_recording(body: Body) -> Mapping[str, Any]:
    """Return an answer about as much audio as the file of a request can have; token models read it by the second."""
    seconds = seconds_of(body.get("file"))
    if not str(body.get("model") or "").startswith("gpt-"):
        return {"duration": seconds}
    heard = ceil(seconds * HEARD_TOKENS)
    return {
        "usage": {
            "type": "tokens",
            "input_tokens": heard,
            "input_token_details": {"audio_tokens": heard, "text_tokens": 0},
            "output_tokens": ceil(seconds * WRITTEN_TOKENS),
            "total_tokens": heard + ceil(seconds * WRITTEN_TOKENS),
        }
    }


HEARD_TOKENS = 10
"""Input tokens of a second of audio. https://platform.openai.com/docs/api-reference/audio"""

WRITTEN_TOKENS = 6
"""Tokens that a fast speaker's second is written in."""

TRANSCRIPTIONS = Operation(
    name=S.TRANSCRIPTION,
    api="transcriptions",
    fields=_MODEL,
    response=read_answer,
    accumulate=LastEvent,
    largest=longest_recording,
)

TRANSLATIONS = Operation(
    name=S.TRANSLATION, api="transcriptions", fields=_MODEL, response=read_answer, largest=longest_recording
)
