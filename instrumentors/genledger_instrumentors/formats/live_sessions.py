"""What the sessions of audio services have in common: seconds of sent sound, characters, texts, an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .audio import answered, asked
from .recordings import UNKNOWN

_WIDTHS = {"linear16": 2, "pcm_s16le": 2, "linear32": 4, "mulaw": 1, "alaw": 1, "pcm_mulaw": 1, "ulaw": 1, "pcm": 2}
"""Bytes of a sample in encodings that are not compressed."""

UNKNOWN_CHARACTERS = 5000
"""Characters of a session that has text spoken: nobody knows them before. They are some five minutes."""


def seconds_of_samples(size: int, encoding: object, rate: object) -> float:
    """Return the seconds of sound in so many bytes; 0 where the encoding does not say.

    Args:
        size: Bytes.
        encoding: Its name, as providers write it.
        rate: Samples a second, a number or its digits.
    """
    width = _WIDTHS.get(str(getattr(encoding, "value", encoding)), 0)
    try:
        return size / (width * int(str(rate)))
    except (ValueError, ZeroDivisionError):
        return 0.0


def longest_session(body: Body) -> Mapping[str, Any]:
    """Return an answer about a session, whose length is not known before."""
    return {"duration": UNKNOWN}


def longest_conversation(body: Body) -> Mapping[str, Any]:
    """As `longest_session`, where the seconds that it is open are billed whatever is said."""
    return {"usage": {"seconds": UNKNOWN}}


def longest_text(body: Body) -> Mapping[str, Any]:
    """Return an answer about text that is not known before."""
    return {"usage": {"characters": UNKNOWN_CHARACTERS}}


class LiveSession:
    """Puts a session together: what every kind of one has.

    Args:
        body: The request that opened it.
        keep: Whether its content is captured.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self.body = body
        self.keep = keep
        self.id: Any = None
        self.model: Any = None
        self.error: Any = None
        self.complete = False
        self.counted = False
        self.texts: dict[Any, str] = {}
        self.spoken: list[str] = []

    def sent(self, message: Any) -> None:
        """Take in a message that has been sent."""

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""

    def write(self, said: object, place: object = None) -> None:
        """Keep what a user or an agent said; a text takes the place of one before it."""
        if self.keep and isinstance(said, str) and said:
            self.texts[len(self.texts) if place is None else place] = said

    def speak(self, said: object) -> None:
        """Keep what is to be spoken."""
        if self.keep and isinstance(said, str):
            self.spoken.append(said)

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the fields of an answer that say what is billed.

        Args:
            seconds: How long the connection was open.
        """
        return {"usage": {"seconds": seconds}}

    def response(self, seconds: float) -> Mapping[str, Any]:
        """Return the whole session, shaped like an answer."""
        return {
            "id": self.id,
            "served": self.model,  # as the provider names it, which need not be how it prices it
            "error": self.error,
            "texts": list(self.texts.values()),
            "spoken": "".join(self.spoken),
            **self.billed(seconds),
        }


def read_session(answer: Any, attributes: Attributes) -> None:
    """Read under which id a session ran, the model that was used, and why it failed."""
    names = (("id", A.GEN_AI_RESPONSE_ID), ("served", A.GEN_AI_RESPONSE_MODEL), ("error", A.ERROR_TYPE))
    write_texts(answer, names, attributes)


def read_texts(answer: Any) -> Content:
    """Return what was to be spoken, and what was said."""
    spoken = field(answer, "spoken")
    return {
        **asked([text_part(spoken)] if spoken else []),
        **answered([text_part(said) for said in field(answer, "texts") or ()]),
    }


def transcribed_live(operation: Operation) -> Operation:
    """Return the operation of a session that is transcribed, from that of a recording."""
    return operation._replace(api="live_transcriptions", largest=longest_session, **_SESSION)


def spoken_live(operation: Operation) -> Operation:
    """Return the operation of a session that has text spoken, from that of a text."""
    return operation._replace(api="live_speech", headers={}, largest=longest_text, **_SESSION)


def agent(product: str) -> Operation:
    """Return the operation of a session with an agent.

    Args:
        product: Its name: of the models that an agent is made of, none is billed by itself.
    """
    constant = {A.GEN_AI_REQUEST_MODEL: product}
    return Operation(name=S.REALTIME, api="agent", constant=constant, largest=longest_conversation, **_SESSION)


_SESSION: dict[str, Any] = {"response": read_session, "input": None, "output": read_texts}
