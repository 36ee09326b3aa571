"""What an answer says that it cost: a bill where the provider defines the field, and any number elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite, nan

from . import table
from .cost import rejection
from .fields import field, path
from .names import canonical_provider, provider_of_host

NOTES = frozenset({"byok", "gateway_estimate"})
"""Notes that are about a reported cost, and mean nothing when it is not believed."""

Headers = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CostField:
    """A place where a cost is reported, and who reports it there.

    `providers` are those that define the field, under their canonical names. With `own_name` the field bears the
    name of the gateway that sends it, so that it means the same at whatever address the gateway runs. `read` gives
    the amount in USD as it is written, which may be no amount at all, and adds notes on it.
    """

    providers: frozenset[str]
    read: Callable[[object, Headers, list[str]], float | None]
    own_name: bool = False


def reported_cost(
    provider: str, base_url: str | None, body: object, headers: Headers, notes: list[str]
) -> float | None:
    """The cost in USD that an answer reports, when it comes from someone who reports costs in that field.

    Finite and not negative; an amount that is neither is left out, with a note. Whether the amount is plausible
    is for `plausibility`.

    Args:
        provider: Who was called, under any name.
        base_url: Where; a known host decides who answers, whatever `provider` says.
        body: The answer.
        headers: Those of the response, their names in lower case.
        notes: Notes are added here.
    """
    for place in _FIELDS:
        about: list[str] = []
        amount = place.read(body, headers, about)
        if amount is None or not _defines(place, provider, base_url):
            continue
        if isfinite(amount) and amount >= 0:
            notes += about
            return amount
        notes.append(rejection(amount))
        return None
    return None


def _defines(place: CostField, provider: str, base_url: str | None) -> bool:
    """Whether whoever answers reports costs in this field.

    At an address that nobody sells from there is a gateway, which may pass on what its upstream reports.
    """
    host = provider_of_host(base_url) if base_url else None
    if host is not None:
        return host in place.providers
    if place.own_name:
        return True
    if not base_url:
        return canonical_provider(provider) in place.providers
    seller = table.load().at_address(base_url)
    return seller is None or seller in place.providers


def _ticks(body: object, headers: Headers, notes: list[str]) -> float | None:
    ticks = _numeric(path(body, "usage", "cost_in_usd_ticks"))
    return None if ticks is None else ticks / 1e10


def _usage_cost(body: object, headers: Headers, notes: list[str]) -> float | None:
    """With the customer's own key, what the upstream provider charges comes on top of OpenRouter's fee."""
    usage = field(body, "usage")
    cost = _numeric(field(usage, "cost"))
    if cost is None or field(usage, "is_byok") is not True:
        return cost
    notes.append("byok")
    upstream = _numeric(path(usage, "cost_details", "upstream_inference_cost")) or 0.0
    return cost + upstream if min(cost, upstream) >= 0 else nan


def _total_cost(body: object, headers: Headers, notes: list[str]) -> float | None:
    return _numeric(path(body, "usage", "cost", "total_cost"))


def _usd_and_diem(body: object, headers: Headers, notes: list[str]) -> float | None:
    """Venice's prepaid currency settles at a dollar each."""
    cost = field(body, "cost")
    usd, diem = _numeric(field(cost, "usd")), _numeric(field(cost, "diem")) or 0.0
    if usd is None:
        return None
    return usd + diem if min(usd, diem) >= 0 else nan


def _credits(body: object, headers: Headers, notes: list[str]) -> float | None:
    """A credit is a cent."""
    credits = _numeric(path(body, "copilot_usage", "total_nano_aiu"))
    return None if credits is None else credits * 1e-11


def _litellm(body: object, headers: Headers, notes: list[str]) -> float | None:
    written = headers.get("x-litellm-response-cost")
    if isinstance(written, str):
        try:
            written = float(written)
        except ValueError:
            return None
    return _estimate(written, notes)


def _pydantic(body: object, headers: Headers, notes: list[str]) -> float | None:
    return _estimate(path(body, "usage", "pydantic_ai_gateway", "cost_estimate"), notes)


def _estimate(value: object, notes: list[str]) -> float | None:
    """Gateways that estimate also say zero of models that they do not know."""
    notes.append("gateway_estimate")
    return _numeric(value) or None


def _numeric(value: object) -> float | None:
    """A number, whatever its size or sign; booleans and strings are none."""
    if value is None or isinstance(value, (bool, str, bytes)):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return inf
    except Exception:
        return None


_FIELDS = (
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
    # https://docs.litellm.ai/docs/proxy/response_headers
    CostField(frozenset({"litellm"}), _litellm, own_name=True),
    # Recorded from Pydantic's gateway, https://github.com/pydantic/pydantic-ai-gateway
    CostField(frozenset(), _pydantic, own_name=True),
)
"""Where costs are reported; the first that is there, from someone who defines it, counts."""
