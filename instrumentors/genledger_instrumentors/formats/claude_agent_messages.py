"""Messages of Claude Code, as its SDK gives them: what was consumed, and what it reports to have cost.

https://docs.claude.com/en/api/agent-sdk/cost-tracking
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Body, Content, Operation, Received, text
from genledger.engine.outcome import ErrorEvent
from genledger.pricing.getters import Counts, field, fields_of, number
from genledger.pricing.reported import AGENT_RUN
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .anthropic_messages import read_response

Used = Mapping[str, float]
"""Counts of the tokens of a model, by Anthropic's names; `searches`, and `cost` in USD where it is reported."""

_COUNTS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
    "cacheCreationInputTokens": "cache_creation_input_tokens",
    "webSearchRequests": "searches",
}


_SESSIONS = 1000
_totals: dict[str, Reported] = {}
"""The last totals of sessions, newest last: one that is resumed may go on with them."""


class Resumed(NamedTuple):
    """In place of the totals of a connection that goes on with a session: its id, if the application named it."""

    session: str | None


class Reported(NamedTuple):
    """Running totals of a connection: in USD, and by model."""

    cost: float | None = None
    models: Mapping[str, Used] = {}

    @property
    def tokens(self) -> float:
        """All of them."""
        return sum(
            count for used in self.models.values() for name, count in used.items() if name not in ("cost", "searches")
        )

    def since(self, before: Reported) -> Reported:
        """Return what was added to earlier totals. Totals that are less began anew."""
        if self.cost is not None and before.cost is not None and self.cost < before.cost:
            before = Reported()
        models: dict[str, Used] = {}
        for model, used in self.models.items():
            earlier = before.models.get(model, {})
            added = {name: max(0, count - earlier.get(name, 0)) for name, count in used.items()}
            if any(added.values()):
                models[model] = added
        return Reported(None if self.cost is None else self.cost - (before.cost or 0.0), models)


def read_totals(result: Any) -> Reported:
    """Return the totals that a result reports: of the connection so far."""
    counts = Counts()
    models = {
        str(model): {
            **{ours: counts(used, theirs) for theirs, ours in _COUNTS.items()},
            "cost": number(field(used, "costUSD")) or 0.0,
        }
        for model, used in fields_of(field(result, "model_usage")).items()
    }
    return Reported(number(field(result, "total_cost_usd")), models)


class Said(NamedTuple):
    """A message of a model.

    Args:
        model: Who said it.
        usage: What it consumed: of the output only its beginning, unless it is `counted`.
        inside: The call of the tool whose subagent said it.
        length: Bytes of text in it.
        counted: Whether its end came, which says what it consumed.
    """

    model: str
    usage: Mapping[str, Any]
    inside: str | None = None
    length: int = 0
    counted: bool = False


_TEXTS = {"TextBlock": "text", "ThinkingBlock": "thinking", "ToolUseBlock": "input"}
"""Where blocks of a message have what a model generated."""


def read_said(message: Any, before: Said | None) -> Said:
    """Return a part of a message, with the parts that came before."""
    texts = [field(block, name) for block in message.content if (name := _TEXTS.get(type(block).__name__))]
    length = sum(len(str(text).encode(errors="replace")) for text in texts)
    usage, inside = fields_of(message.usage), message.parent_tool_use_id
    return Said(message.model, usage, inside, length + (before.length if before is not None else 0))


def totals_of(messages: Iterable[Said]) -> Reported:
    """Return what messages consumed."""
    models: dict[str, Used] = {}
    for said in messages:
        models[said.model] = _sum(models.get(said.model, {}), said.usage)
    return Reported(None, models)


def _sum(sums: Used, usage: Any) -> Used:
    counts = Counts()
    used = {name: counts(usage, name) for name in _COUNTS.values() if name != "searches"}
    used["searches"] = counts(field(usage, "server_tool_use"), "web_search_requests")
    return {name: sums.get(name, 0) + count for name, count in used.items()}


def consumed_by(result: Any, messages: Iterable[Said]) -> Reported:
    """Return what a run consumed, as its result and messages say: all but what Claude Code asked aside.

    The usage of a result is that of the agent's own messages, without its subagents'.
    """
    own: Said | None = None
    inside: list[Said] = []
    for said in messages:
        if said.inside is None:
            own = said
        else:
            inside.append(said)
    return totals_of(inside if own is None else [*inside, own._replace(usage=fields_of(field(result, "usage")))])


def of_resumed(totals: Reported, before: Reported | None, own: Reported) -> Reported:
    """Return what the first run of a resumed session consumed.

    Claude Code may have carried over the totals of the session, or not, and does not say which.

    Args:
        totals: What it reports.
        before: The last totals of the session that were seen here, if any were.
        own: What the run consumed, as far as that is seen.
    """
    if before is not None:
        added = totals.since(before)
        return added if added.tokens >= own.tokens else totals
    return totals if totals.tokens == own.tokens else own


def consumed_in(before: Any, totals: Reported, result: Any, messages: Collection[Said]) -> Reported:
    """Return what a run consumed.

    Args:
        before: The totals of the connection before it: `Reported`, or `Resumed`, or `None`.
        totals: Those that its result reports.
        result: Its result.
        messages: Its messages.
    """
    if totals == Reported():
        return totals_of(messages)
    if isinstance(before, Resumed):
        known = _totals.get(before.session or result.session_id)
        consumed = of_resumed(totals, known, consumed_by(result, messages))
    else:
        consumed = totals.since(before or Reported())
    _totals.pop(result.session_id, None)
    _totals[result.session_id] = totals
    while len(_totals) > _SESSIONS:
        _totals.pop(next(iter(_totals)), None)
    return consumed


def count_end(messages: dict[Any, Said], event: Any) -> None:
    """Note what a message consumed, as an event says at its end."""
    if event.event.get("type") != "message_delta":
        return
    for key, said in reversed(messages.items()):
        if said.inside == event.parent_tool_use_id:
            usage = {**said.usage, **fields_of(event.event.get("usage") or {})}
            messages[key] = said._replace(usage=usage, counted=True)
            return


def read_received(messages: Iterable[Said]) -> Received | None:
    """Return how much text came in messages whose end did not come; `None` if there are none."""
    lengths = [said.length for said in messages if not said.counted]
    return Received(sum(lengths)) if lengths else None


def as_answer(consumed: Reported, result: Any) -> dict[str, Any] | None:
    """Return what a run consumed as one answer, of the model that cost most; `None` if it consumed nothing."""
    if not consumed.models and consumed.cost is None:
        return None
    ranked = sorted(consumed.models, key=lambda model: -_weight(consumed.models[model]))
    total = {name: sum(used.get(name, 0) for used in consumed.models.values()) for name in _COUNTS.values()}
    return {
        "model": ranked[0] if ranked else None,
        "stop_reason": field(result, "stop_reason"),
        "usage": _block(total),
        "usage_breakdown": {"models": [{"model": model, "usage": _block(consumed.models[model])} for model in ranked]},
        AGENT_RUN: {"total_cost_usd": consumed.cost},
        "result": field(result, "result"),
    }


def _weight(used: Used) -> float:
    return used.get("cost") or used.get("output_tokens", 0) * 1e-9


def _block(used: Used) -> dict[str, Any]:
    block: dict[str, Any] = {name: count for name, count in used.items() if name not in ("cost", "searches")}
    return {**block, "server_tool_use": {"web_search_requests": used.get("searches", 0)}}


def read_failure(result: Any) -> ErrorEvent | None:
    """Return why a run failed, as its result says; `None` if it did not."""
    if not field(result, "is_error"):
        return None
    status, subtype = field(result, "api_error_status"), field(result, "subtype")
    kind = str(status) if status is not None else subtype if subtype != "success" else "error"
    return ErrorEvent({"type": kind, "message": str(field(result, "result") or kind)})


def read_input(body: Body) -> Content:
    """Return what an agent is asked."""
    prompt = body.get("prompt")
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(prompt)]}]} if prompt else {}


def read_output(answer: Any) -> Content:
    """Return what an agent answers."""
    said = field(answer, "result")
    if not isinstance(said, str):
        return {}
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": [text_part(said)], "finish_reason": "stop"}]}


RUN = Operation(
    name=S.CHAT,
    api="messages",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    response=read_response,
    input=read_input,
    output=read_output,
    family="inference",
    fixed_model=True,
    hidden_prompt=True,
)
"""All requests to the model that Claude Code makes for a result."""
