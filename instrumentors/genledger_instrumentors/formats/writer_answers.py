"""Writer's endpoints that answer with a text and say nothing of usage: applications, questions, images, translations.

https://dev.writer.com/api-reference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import generic_part, text_part
from genledger.engine.operation import Body, Content, Operation, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .web_search import SEARCH

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}


def said_in(answer: Any) -> str:
    """Return the text of an answer, or of a part of a streamed one."""
    places = (field(answer, "data"), field(answer, "delta"), answer)
    fields = ("answer", "content", "suggestion", "value")
    named = (field(place, name) for place in places for name in fields)
    return next((said for said in (field(answer, "data"), *named) if isinstance(said, str)), "")


class Pieces:
    """Puts a stream together whose parts are pieces of text, and which nothing ends."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._pieces: list[str] = []
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more pieces."""
        for chunk in chunks:
            piece = said_in(chunk)
            self._length += length_of(piece)
            if self._keep:
                self._pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, as a choice and as a text of its own."""
        said = "".join(self._pieces)
        return {"choices": [{"text": said, "finish_reason": "stop"}], "value": said}

    def text_length(self) -> int:
        """Return bytes received so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the provider has sent its usage, which it never does."""
        return False

    @property
    def complete(self) -> bool:
        """Return whether the answer may be whole: nothing marks its end."""
        return self._length > 0


def read_input(body: Body) -> Content:
    """Return the question, the prompt or the text of a request, else all of an application's inputs."""
    asked = next((body[name] for name in ("question", "prompt", "text") if isinstance(body.get(name), str)), None)
    part = text_part(asked) if asked is not None else generic_part({"type": "inputs", "inputs": body.get("inputs")})
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [part]}]}


def read_output(answer: Any) -> Content:
    """Return the text of an answer as one message."""
    message = {"role": "assistant", "parts": [text_part(said_in(answer))], "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


ANSWER = Operation(
    name=S.CHAT,
    api="answers",
    fields=_MODEL,
    accumulate=Pieces,
    input=read_input,
    output=read_output,
    family="inference",
)

TRANSLATION = Operation(name=S.TRANSLATION, api="answers", fields=_MODEL)

PAGES = Operation(name=S.OCR, api="answers")

WEB_SEARCH = SEARCH._replace(api="answers", request=None, response=None)
