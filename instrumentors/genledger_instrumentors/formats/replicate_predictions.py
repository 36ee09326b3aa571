"""Replicate's predictions. API: https://replicate.com/docs/reference/http#predictions.create"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import generic_part, media_part, text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, number, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_PROMPTS = (("system_prompt", "system"), ("prompt", "user"))


def read_prediction(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction with its metrics as usage.

    A language model says how many tokens it read and wrote, and is billed by them; any other model by the seconds
    that it ran (https://replicate.com/docs/topics/billing).
    """
    answer = dict(prediction)
    metrics = answer.get("metrics")
    read, written = integer(field(metrics, "input_token_count")), integer(field(metrics, "output_token_count"))
    seconds = number(field(metrics, "predict_time"))
    if read is not None or written is not None:
        answer["usage"] = {"prompt_tokens": read or 0, "completion_tokens": written or 0}
    elif seconds is not None:
        answer["usage"] = {"seconds": seconds}
    return answer


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model and how the prediction ended."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("model", A.GEN_AI_RESPONSE_MODEL)), attributes)
    status = field(answer, "status")
    if status == "failed":
        attributes[A.ERROR_TYPE] = "failed"
    if status is not None:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("error" if status in ("failed", "canceled") else "stop",)


def read_input(body: Body) -> Content:
    """Return the prompts of a request."""
    given = body.get("input")
    messages = [
        {"role": role, "parts": [text_part(said)]}
        for name, role in _PROMPTS
        if (said := text(field(given, name))) is not None
    ]
    return {A.GEN_AI_INPUT_MESSAGES: messages or None}


def _part(output: Any) -> Any:
    if not isinstance(output, str):
        return generic_part(output)
    return media_part("image", output) if output.startswith(("https:", "data:")) else text_part(output)


def read_output(answer: Any) -> Content:
    """Read the output: pieces of text are joined, each file is a part."""
    output = field(answer, "output")
    if output is None:
        return {}
    parts = output if isinstance(output, list) else [output]
    if all(isinstance(part, str) and not part.startswith(("https:", "data:")) for part in parts):
        parts = ["".join(parts)]
    reason = "error" if field(answer, "status") in ("failed", "canceled") else "stop"
    message = {"role": "assistant", "parts": [_part(part) for part in parts], "finish_reason": reason}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


class PredictionEvents:
    """The events of a prediction's stream: its output in pieces, and its end. Usage is not among them."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._model = body.get("model")
        self._keep = keep
        self._pieces: list[str] = []
        self._length = 0
        self._done = False

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for chunk in chunks:
            kind = chunk.event.value
            if kind == "output":
                piece = str(chunk.data)
                self._length += length_of(piece)
                if self._keep:
                    self._pieces.append(piece)
            self._done = self._done or kind == "done"

    def response(self) -> Mapping[str, Any]:
        """Return what has been received, as a prediction."""
        ended = {"status": "succeeded"} if self._done else {}
        return {"model": self._model, "output": self._pieces or None, **ended}

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether the prediction has ended."""
        return self._done

    @property
    def counted(self) -> bool:
        """Never: a prediction's metrics are not a part of its stream."""
        return False


PREDICTION = Operation(
    name=S.GENERATE_CONTENT,
    api="predictions",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "input.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "input.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "input.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "input.seed": (A.GEN_AI_REQUEST_SEED, integer),
        "input.max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "input.max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    },
    response=read_response,
    accumulate=PredictionEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("input.max_tokens", "input.max_new_tokens"),
)
