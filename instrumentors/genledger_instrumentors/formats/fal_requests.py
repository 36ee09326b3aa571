"""fal's requests. API: https://docs.fal.ai/model-apis/model-endpoints/queue

A header counts what is billed, in the unit of the model: images, megapixels, seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genledger.engine.content.capture import generic_part, media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked

_UNITS = "x-fal-billable-units"
_MEDIA = {"images": "image", "image": "image", "video": "video", "audio": "audio", "audio_file": "audio"}


def read_result(name: str, result: Any, headers: Mapping[str, str], failure: str | None = None) -> dict[str, Any]:
    """Return what a request resulted in, as an answer; `failure` says why in nothing."""
    units = headers.get(_UNITS)
    try:
        usage = {"billable_units": float(units)} if units is not None else None
    except ValueError:
        usage = None
    return {"id": name, "result": result, "usage": usage, "failure": failure}


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the id, and why there is no result."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("failure", A.ERROR_TYPE)), attributes)
    reason = "error" if field(answer, "failure") else "stop"
    attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)


def read_input(body: Body) -> Content:
    """Return the prompt."""
    prompt = text(body.get("prompt"))
    return asked([text_part(prompt)] if prompt is not None else [])


def _parts(result: Any) -> Iterator[Any]:
    for name, modality in _MEDIA.items():
        found = field(result, name)
        for one in listed(found) or (found,):
            address = text(field(one, "url"))
            if address is not None:
                yield media_part(modality, address, text(field(one, "content_type")))
    said = text(field(result, "output"))
    if said is not None:
        yield text_part(said)


def read_output(answer: Any) -> Content:
    """Return the media and the text of a result; one that has neither, as it is."""
    result = field(answer, "result")
    parts = list(_parts(result))
    return answered(parts or ([generic_part(result)] if result is not None else []))


def largest_result(body: Body) -> Mapping[str, Any]:
    """Return a result with as many units as images are asked for."""
    count = integer(body.get("num_images")) or 1
    return {"usage": {"billable_units": max(count, 1)}}


REQUEST = Operation(
    name=S.GENERATE_CONTENT,
    api="fal",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text), "seed": (A.GEN_AI_REQUEST_SEED, integer)},
    response=read_response,
    input=read_input,
    output=read_output,
    family="inference",
    largest=largest_result,
)


class ResultEvents:
    """The events of a stream: each is a result as far as it is known, and takes the place of the one before."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            self._last = event

    def response(self) -> Mapping[str, Any]:
        """Return what has been received last, as an answer."""
        return {"result": self._last}

    def text_length(self) -> int:
        """Return nothing: what is generated is not billed by its length."""
        return 0

    @property
    def complete(self) -> bool:
        """Return whether a result has come that is not marked as a part of it."""
        return self._last is not None and field(self._last, "partial") is not True

    @property
    def counted(self) -> bool:
        """Return whether nothing is to be estimated: a header counts, or nothing does."""
        return True


STREAM = REQUEST._replace(accumulate=ResultEvents)
