"""Runs of Azure's agents: jobs, each of which asks a model several times and says what all of that consumed.

https://learn.microsoft.com/rest/api/aifoundry/aiagents/runs. What the server's tools cost is not in a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import DEFAULT_OUTPUT_TOKENS, length_of
from genledger.engine.content.capture import text_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, number, text
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .event_lines import EventLines

ENDED = ("completed", "failed", "cancelled", "expired", "incomplete")
_REASONS = {"completed": "stop", "incomplete": "length"}


def read_run(run: Any, attributes: Attributes) -> None:
    """Read which model a run has asked, which may be its agent's, and how it ended."""
    model, status = text(field(run, "model")), text(field(run, "status"))
    if model is not None:
        attributes.setdefault(A.GEN_AI_REQUEST_MODEL, model)
    if status in ("failed", "expired"):
        attributes[A.ERROR_TYPE] = text(path(run, "last_error", "code")) or status
    if status in ENDED:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (_REASONS.get(status, "error"),)


def read_input(body: Body) -> Content:
    """Return what a run adds to what the thread and the agent have."""
    told = [body.get(name) for name in ("instructions", "additional_instructions")]
    messages = [
        {"role": str(field(one, "role")), "parts": [text_part(said)]}
        for one in listed(body.get("additional_messages"))
        if (said := text(field(one, "content"))) is not None
    ]
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: [text_part(one) for one in told if isinstance(one, str) and one] or None,
        A.GEN_AI_INPUT_MESSAGES: messages or None,
    }


def read_output(run: Any) -> Content:
    """Return what was said in a stream: elsewhere, the messages of a run are asked for apart."""
    said = text(field(run, "said"))
    if said is None:
        return {}
    reason = _REASONS.get(str(field(run, "status")), "error")
    message = {"role": "assistant", "parts": [text_part(said)], "finish_reason": reason}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


class RunEvents:
    """The events of a run: its states, and what it says in pieces."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._run: Mapping[str, Any] = {}
        self._pieces: list[str] = []
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            kind = field(event, "object")
            if kind == "thread.run":
                self._run = event
            elif kind == "thread.message.delta":
                for part in listed(path(event, "delta", "content")):
                    piece = text(path(part, "text", "value")) or ""
                    self._length += length_of(piece)
                    if self._keep:
                        self._pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return the run as it is by now."""
        return {**self._run, "said": "".join(self._pieces)}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether the run has ended."""
        return self._run.get("status") in ENDED

    @property
    def counted(self) -> bool:
        """Return whether the run says what it consumed."""
        return self._run.get("usage") is not None


def events(body: Body, keep: bool) -> EventLines:
    """Return what puts the bytes of a stream together."""
    return EventLines(RunEvents(body, keep))


def largest(body: Body) -> dict[str, Any]:
    """Return the largest run that a request allows."""
    given, made = (integer(body.get(f"max_{kind}_tokens")) for kind in ("prompt", "completion"))
    return {"usage": {"prompt_tokens": given or 0, "completion_tokens": made or DEFAULT_OUTPUT_TOKENS}}


def _waits(body: Body, run: Any) -> str | None:
    return text(field(run, "id")) if field(run, "status") == "requires_action" else None


RUN = Operation(
    name=S.INVOKE_AGENT,
    api="chat",
    fields={
        "model": (A.GEN_AI_REQUEST_MODEL, text),
        "agent_id": (A.GEN_AI_AGENT_ID, text),
        "assistant_id": (A.GEN_AI_AGENT_ID, text),
        "thread_id": (A.GEN_AI_CONVERSATION_ID, text),
        "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "max_completion_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    },
    response=read_run,
    accumulate=events,
    input=read_input,
    output=read_output,
    limit=("max_completion_tokens",),
    largest=largest,
    target=lambda attributes: None,
    hidden_prompt=True,
    unfinished=_waits,
)
