"""Costs reported in answers. They count only where the provider defines the field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan

from genledger.pricing import table
from genledger.pricing.cost import rejection
from genledger.pricing.getters import field, path
from genledger.pricing.names import canonical_provider, provider_of_host

GATEWAY_CACHE = "gateway_cache"
"""The note on the cost of what a gateway had in its cache."""

NOTES = frozenset({"byok", GATEWAY_CACHE, "gateway_estimate"})
"""Notes that are about a reported cost, and mean nothing when it is not believed."""

Headers = Mapping[str, object]

Said = tuple[float, str | None]
"""An amount in USD as it is written, which may be no amount at all, and a note on it."""


@dataclass(frozen=True, slots=True)
class CostField:
    """A place where a cost is reported, and who reports it there.

    `providers` are those that define the field, under their canonical names. With `own_name` the field bears the
    name of the gateway that sends it, so that it means the same at whatever address the gateway runs. A `client`
    library writes it itself, whoever answers. `read` is given the usage block, the answer and the headers. With
    `free`, a zero there is meant as one.
    """

    providers: frozenset[str]
    read: Callable[[object, object, Headers], Said | None]
    own_name: bool = False
    client: bool = False
    free: bool = False


def reported_cost(
    provider: str, base_url: str | None, body: object, headers: Headers, notes: list[str]
) -> float | None:
    """Return the cost in USD that an answer reports, when it comes from someone who reports costs in that field.

    Finite and not negative; an amount that is neither is left out, with a note. Whether the amount is plausible
    is for `plausibility`.

    Args:
        provider: Who was called, under any name.
        base_url: Where; a known host decides who answers, whatever `provider` says.
        body: The answer.
        headers: Those of the response, their names in lower case.
        notes: Notes are added here.
    """
    usage = field(body, "usage")
    for place in _FIELDS:
        said = place.read(usage, body, headers)
        if said is None or not _defines(place, provider, base_url):
            continue
        amount, note = said
        if amount == 0 and not (place.free or _may_be_free(place, provider, base_url)):
            return None
        if not (isfinite(amount) and amount >= 0):
            notes.append(rejection(amount))
            return None
        if note is not None:
            notes.append(note)
        return amount
    return None


def _defines(place: CostField, provider: str, base_url: str | None) -> bool:
    """Return whether the answering provider reports costs in this field.

    At an address that nobody sells from there is a gateway, which may pass on what its upstream reports.
    """
    if place.client:
        return True
    host = provider_of_host(base_url) if base_url else None
    if host is not None:
        return host in place.providers
    if place.own_name:
        return True
    if not base_url:
        return canonical_provider(provider) in place.providers
    seller = table.load().at_address(base_url)
    return seller is None or seller in place.providers


def _may_be_free(place: CostField, provider: str, base_url: str | None) -> bool:
    """Whether a zero is true of whoever answers: of who sells itself; gateways say it of models they do not know."""
    seller = provider_of_host(base_url) if base_url else canonical_provider(provider)
    return seller in place.providers - {"litellm"}


def _ticks(usage: object, body: object, headers: Headers) -> Said | None:
    ticks = _numeric(field(usage, "cost_in_usd_ticks"))
    return None if ticks is None else (ticks / 1e10, None)


def _usage_cost(usage: object, body: object, headers: Headers) -> Said | None:
    """With the customer's own key, what the upstream provider charges comes on top of OpenRouter's fee."""
    cost = _numeric(field(usage, "cost"))
    if cost is None:
        return None
    if field(usage, "is_byok") is not True:
        return cost, None
    return _sum(cost, path(usage, "cost_details", "upstream_inference_cost")), "byok"


def _total_cost(usage: object, body: object, headers: Headers) -> Said | None:
    """Perplexity's chunks before the last have zeros in the place of costs that are not known yet."""
    total = _numeric(path(usage, "cost", "total_cost"))
    return (total, None) if total else None


def _usd_and_diem(usage: object, body: object, headers: Headers) -> Said | None:
    """Venice's prepaid currency settles at a dollar each."""
    cost = field(body, "cost")
    usd = _numeric(field(cost, "usd"))
    return None if usd is None else (_sum(usd, field(cost, "diem")), None)


def _credits(usage: object, body: object, headers: Headers) -> Said | None:
    """Return a credit is a cent."""
    credits = _numeric(path(body, "copilot_usage", "total_nano_aiu"))
    return None if credits is None else (credits * 1e-11, None)


def _litellm(usage: object, body: object, headers: Headers) -> Said | None:
    written = headers.get("x-litellm-response-cost")
    if isinstance(written, str):
        try:
            written = float(written)
        except ValueError:
            return None
    return _estimate(written)


def _litellm_client(usage: object, body: object, headers: Headers) -> Said | None:
    return _estimate(path(body, CLIENTS_OWN, "response_cost"))


def _pydantic(usage: object, body: object, headers: Headers) -> Said | None:
    return _estimate(path(usage, "pydantic_ai_gateway", "cost_estimate"))


def _portkey(usage: object, body: object, headers: Headers) -> Said | None:
    """Portkey's gateway asks no provider for what it has in its cache."""
    status = headers.get("x-portkey-cache-status")
    return (0.0, GATEWAY_CACHE) if isinstance(status, str) and status.upper().endswith("HIT") else None


def _agent_run(usage: object, body: object, headers: Headers) -> Said | None:
    total = _numeric(path(body, AGENT_RUN, "total_cost_usd"))
    return None if total is None else (total, None)


def _estimate(value: object) -> Said | None:
    """Gateways that estimate also say zero of models that they do not know."""
    estimate = _numeric(value)
    return (estimate, "gateway_estimate") if estimate else None


def _sum(amount: float, more: object) -> float:
    """Two parts of a cost together; no amount if one of them is none."""
    other = _numeric(more) or 0.0
    return amount + other if amount >= 0 and other >= 0 else nan


def _numeric(value: object) -> float | None:
    """Return a number, whatever its size or sign; booleans and strings are none."""
    if value is None or isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return inf
    except Exception:
        return None


CLIENTS_OWN = "_hidden_params"
"""The field of an answer that LiteLLM's library keeps its own facts in. https://docs.litellm.ai/docs/completion/output"""

AGENT_RUN = "claude_agent_sdk"
"""The field of an answer that is made of the results of a run of Claude Code, which has what they report."""

_FIELDS = (
    CostField(frozenset(), _litellm_client, client=True),
    # https://docs.x.ai/developers/cost-tracking
    CostField(frozenset({"x-ai"}), _ticks),
    # https://openrouter.ai/docs/use-cases/usage-accounting; LiteLLM's proxy with `include_cost_in_streaming_usage`
    CostField(frozenset({"openrouter", "litellm"}), _usage_cost),
    # https://docs.perplexity.ai/api-reference/chat-completions-post
    CostField(frozenset({"perplexity"}), _total_cost),
    # https://docs.venice.ai/api-reference/endpoint/chat/completions
    CostField(frozenset({"venice"}), _usd_and_diem),
    # Recorded from GitHub Copilot's API; https://docs.github.com/en/copilot/concepts/billing: a credit is 0.01 USD
    CostField(frozenset({"github-copilot"}), _credits, own_name=True),
    # https://docs.claude.com/en/api/agent-sdk/cost-tracking: Claude Code's own sum
    CostField(frozenset(), _agent_run, client=True, free=True),
    # https://docs.litellm.ai/docs/proxy/response_headers
    CostField(frozenset({"litellm"}), _litellm, own_name=True),
    # Recorded from Pydantic's gateway, https://github.com/pydantic/pydantic-ai-gateway
    CostField(frozenset(), _pydantic, own_name=True),
    # https://portkey.ai/docs/api-reference/inference-api/response-schema
    CostField(frozenset(), _portkey, own_name=True, free=True),
)
"""Where costs are reported; the first that is there, from someone who defines it, counts."""

REPORTING = frozenset(provider for place in _FIELDS for provider in place.providers)
"""Providers of whose answers some report a cost."""
