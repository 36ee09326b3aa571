"""Videos, which are jobs of some minutes: made of a prompt, of images, or of other videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from genledger.engine.content.capture import media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the id and the model."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("model", A.GEN_AI_RESPONSE_MODEL)), attributes)


def read_input(body: Body) -> Content:
    """Return the prompt."""
    prompt = text(body.get("prompt"))
    return asked([text_part(prompt)] if prompt is not None else [])


def addresses(answer: Any) -> Iterator[str]:
    """Yield the addresses of the videos in an answer."""
    output = field(answer, "outputs") or field(answer, "output") or answer
    yield from filter(None, (text(one) for one in listed(field(answer, "unsigned_urls"))))
    for video in (*listed(field(answer, "video_result")), output):
        address = text(field(video, "url")) or text(field(video, "video_url"))
        if address is not None:
            yield address


def read_output(answer: Any) -> Content:
    """Return where the videos are."""
    return answered([media_part("video", address) for address in addresses(answer)])


def one_video(body: Body) -> Mapping[str, Any]:
    """Return an answer with a video, as long as the request asks for."""
    return {"video_result": [{}], "usage": {"video_duration": body.get("duration")}}


VIDEO = Operation(
    name=S.GENERATE_CONTENT,
    api="videos",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "seed": (A.GEN_AI_REQUEST_SEED, integer)},
    response=read_response,
    input=read_input,
    output=read_output,
    family="inference",
    largest=one_video,
)
