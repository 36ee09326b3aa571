"""The wire format of Bedrock's Converse, not streamed.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answer import Answer
from .scripted_model import Prompt, ScriptedModel

Body = Mapping[str, Any]

_TYPES = {
    400: "ValidationException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def error(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """An error in the format of AWS's JSON services."""
    return Answer(
        status, {"message": message}, headers={"x-amzn-ErrorType": _TYPES.get(status, _TYPES[500]), **headers}
    )


def _text(blocks: Sequence[Body]) -> str:
    return "\n".join(block["text"] for block in blocks if "text" in block)


def converse(body: Body, name: str, model: ScriptedModel, number: int) -> Answer:
    """POST /model/{name}/converse."""
    said = [message["content"] for message in body["messages"]]
    completion = model.complete(
        Prompt(
            model=name,
            text="\n".join([_text(body.get("system") or ()), *map(_text, said)]),
            question=_text(said[-1]),
            max_tokens=(body.get("inferenceConfig") or {}).get("maxTokens"),
            breakpoints=(),
        )
    )
    tokens = completion.tokens
    usage = {
        "inputTokens": tokens.input,
        "outputTokens": tokens.output,
        "totalTokens": tokens.input + tokens.output,
    }
    whole = {
        "output": {"message": {"role": "assistant", "content": [{"text": completion.text}]}},
        "stopReason": {"stop": "end_turn", "length": "max_tokens", "tool": "end_turn"}[completion.finish],
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }
    return Answer(200, whole, usage=usage, model=name, headers={"x-amzn-RequestId": f"demo-{number:08d}"})
