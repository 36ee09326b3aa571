"""Billing facts in an answer: usage, model, tier, region, and possibly the amount itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from genledger.pricing.getters import Counts, field, fields_of, first, items, label, number, path, text
from genledger.pricing.names import canonical_provider, deployment_of_url, provider_of_host, region_of_host
from genledger.pricing.readers import shapes
from genledger.pricing.readers.any_format import Consumed, read_any, sampled
from genledger.pricing.readers.tools import image_tool, tool_calls
from genledger.pricing.readers.usage_block import lacks_output, usage_block
from genledger.pricing.reported import CLIENTS_OWN, REPORTING, reported_cost
from genledger.pricing.usage import MEASURES, Usage
from genledger.shared.text import bounded

_STANDARD = frozenset(
    {"", "default", "standard", "auto", "on_demand", "ondemand", "standard_only", "unspecified", "reserved"}
)
_BATCH_APIS = frozenset({"batch", "batches", "message_batches", "batchGenerateContent"})
_TIER_FIELDS = frozenset(
    {
        *("service_tier", "serviceTier", "speed", "performanceConfig", "usageMetadata", "usage_metadata"),
        *("x-gemini-service-tier", "x-amzn-bedrock-service-tier", "x-amzn-bedrock-performanceconfig-latency"),
    }
)
"""The fields and headers that may say a tier."""

_TRAFFIC = {
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "provisioned",
}
_WITHOUT_MODEL = {"apply_guardrail": "guardrail"}
"""What prices call an endpoint that has no model."""

_SERVED_IN_HEADERS = frozenset({"aws", "deepgram", "elevenlabs", "fal", "google", "vertex"})
"""Providers whose headers say what they served; a gateway's may say what it billed."""
MEASURED = "genledger.measured"
"""The field that stands for what was measured of a call of a model in this process: counts by unit."""

_PLACES = ("inference_geo", "region", "location", "vertex_location", "data_residency")
_NO_HEADERS: Mapping[str, object] = {}


@dataclass(slots=True)
class Reading:
    """Billing facts that one answer reports.

    `model` is the model that answered, else the one asked for; `requested` is always the one asked for
    (a deployment, an ARN). `tier` is what the provider says it served: `batch`, `flex`, `priority`, `fast`,
    another provider's own word, or `None` for standard. `reported` is the cost in USD, from a provider that
    reports costs. `context` is the size of the largest prompt, in tokens, when the call sampled more than once,
    because long-context rates look at each prompt. `also` is what other models consumed within the same call.
    `partial` says that the usage leaves out the output. `shares` are the models that the usage is made of, where
    the model that was asked for is a system of others.
    """

    usage: Usage
    model: str | None
    tier: str | None = None
    region: str | None = None
    reported: float | None = None
    notes: tuple[str, ...] = ()
    requested: str | None = None
    context: int | None = None
    also: tuple[tuple[str, Usage], ...] = ()
    partial: bool = False
    shares: tuple[tuple[str, Usage], ...] = ()


class _Seller(NamedTuple):
    """Facts that hold for every answer from a provider and address.

    `headers`: those of an answer may say what was served or billed. `reports`: it may report its cost.
    """

    name: str
    region: str | None
    deployment: str | None
    headers: bool
    reports: bool


@lru_cache(maxsize=256)
def _seller(provider: str, base_url: str | None) -> _Seller:
    name = canonical_provider(provider, base_url)
    host = provider_of_host(base_url) if base_url else None
    return _Seller(
        name,
        region_of_host(base_url) if base_url else None,
        deployment_of_url(base_url) if base_url else None,
        host is None or host in _SERVED_IN_HEADERS,
        host is None or host in REPORTING,
    )


def read_usage(
    provider: str,
    api: str,
    payload: object,
    request: object = None,
    *,
    base_url: str | None = None,
    headers: object = None,
) -> Reading | None:
    """Read an answer, as JSON or as an SDK's object, into exclusive buckets.

    `provider` and `api` are those of `cost_of_response`. Returns `None` when the answer says nothing about
    usage and reports no cost. Total: whatever the payload is, nothing is raised; counts that cannot be right
    are clamped or left out, and the note `usage_inconsistent` says so.
    """
    try:
        seller = _seller(provider, base_url)
        answer, line, body, sent = payload, False, fields_of(payload), fields_of(request)
        if body.get("usage") is None:
            answer, line = _unwrap(payload)
            body = fields_of(answer)
        if (answer is None and line) or body.get("object") == "batch":
            return None
        block = fields_of(usage_block(body))
        said = _headers(payload, headers) if seller.headers else _NO_HEADERS
        asked = _asked(sent) or seller.deployment
        answered = text(body, "model", "modelId", "model_id", "modelVersion", "model_version") or text(payload, "model")
        if answered is None and body.get("outputs") is not None:  # each entry of a conversation has its model
            answered = next((name for one in items(body, "outputs") if (name := text(one, "model"))), None)
        # Bedrock answers with the bare model; the profile or ARN that was asked for decides the price.
        model = (asked or answered) if seller.name == "aws" else (answered or asked)
        model = model or _WITHOUT_MODEL.get(api)

        counts = Counts()
        notes: list[str] = []
        reader = _FORMATS.get(api)
        consumed = reader(counts, seller.name, block, model) if reader is not None else None
        usage, context, also = consumed or read_any(counts, seller.name, api, answer, request, said, model)
        if units := tool_calls(counts, seller.name, body, block, model, sent):
            usage = usage or Usage()
            usage = replace(usage, units={**usage.units, **units})
        if body.get("tool_usage") is not None:
            also += image_tool(counts, body)
        if (measured := body.get(MEASURED)) is not None:
            usage = usage or Usage()
            found = {unit: count for unit in sorted(MEASURES) if (count := number(field(measured, unit))) is not None}
            usage = replace(usage, units={**usage.units, **found})
        reports = seller.reports or body.get(CLIENTS_OWN) is not None
        reported = reported_cost(provider, base_url, body, said, notes) if reports else None
        if usage is None and reported is None and not also:
            return None
        if counts.inconsistent:
            notes.append("usage_inconsistent")
        in_batch = line or api in _BATCH_APIS or sent.get("batch") is True
        tier = "batch" if in_batch else _tier(body, block, sent, said, notes)
        region = _region(block, sent, seller.region)
        partial = usage is not None and api not in _INPUT_ONLY and not usage.output_tokens and lacks_output(block)
        shares = _shares(counts, seller.name, body) if body.get("usage_breakdown") is not None else ()
        return Reading(
            usage or Usage(), model, tier, region, reported, tuple(notes), asked, context, also, partial, shares
        )
    except Exception:
        return None


def _chat(counts: Counts, provider: str, usage: Any, model: str | None) -> Consumed | None:
    if usage.get("prompt_tokens") is None:
        return None
    return shapes.chat(counts, usage, provider), None, ()


def _responses(counts: Counts, provider: str, usage: Any, model: str | None) -> Consumed | None:
    if usage.get("input_tokens_details") is None or usage.get("output_tokens") is None:
        return None
    context = counts.get(usage.get("context_details"), "input_tokens")
    return shapes.responses(counts, usage), context, ()


def _messages(counts: Counts, provider: str, usage: Any, model: str | None) -> Consumed | None:
    if usage.get("input_tokens") is None or usage.get("output_tokens") is None:
        return None
    return sampled(counts, usage, model)


def _invocations(counts: Counts, provider: str, usage: Any, model: str | None) -> Consumed | None:
    """An agent's trace: what each of its models' invocations consumed, of the model itself and of others."""
    invocations = [(text(one, "model"), shapes.converse(counts, one)) for one in items(usage, "invocations")]
    if not invocations:
        return None
    total, also = Usage(), []
    for name, consumed in invocations:
        # The profile that was asked for decides, and a trace may have the bare model.
        if name == model or (name is not None and model is not None and model.endswith(name)):
            total += consumed
        else:
            also.append((name or "unknown", consumed))
    return total, None, tuple(also)


_INPUT_ONLY = frozenset(("embeddings", "embed", "embedContent", "rerank", "moderations", "retrieval"))
"""The endpoints whose answers have no output tokens."""

_FORMATS: Mapping[str, Callable[[Counts, str, Any, str | None], Consumed | None]] = {
    **dict.fromkeys(("chat", "completions", "embeddings"), _chat),
    "responses": _responses,
    "messages": _messages,
    "invoke_agent": _invocations,
}
"""The format that answers of an endpoint have. An answer in another one is left to `read_any`."""


def _shares(counts: Counts, provider: str, body: Any) -> tuple[tuple[str, Usage], ...]:
    """Return what each model of a system of models consumed.

    Groq's answers have it (https://console.groq.com/docs/compound), and what our instrumentor makes of an agent's run.
    """
    shares: dict[str, Usage] = {}
    for share in items(body.get("usage_breakdown"), "models"):
        name, block = text(share, "model"), field(share, "usage")
        if name is not None and block is not None:
            usage = shapes.anthropic(counts, block) if provider == "anthropic" else shapes.chat(counts, block, provider)
            shares[name] = shares[name] + usage if name in shares else usage
    return tuple(shares.items())


def _asked(request: Any) -> str | None:
    return text(request, "model", "modelId", "model_id", "modelName") or text(
        path(request, "rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration"),
        "modelArn",
    )


def _unwrap(payload: object) -> tuple[object, bool]:
    """Return the answer itself, and whether it came in a line of a batch result; `None` for a line that failed.

    Answers also come inside a stream's closing event (`response.completed`, `response.done`).
    """
    if field(payload, "custom_id") is not None:
        result = field(payload, "result")
        if result is not None:
            return (field(result, "message") if field(result, "type") == "succeeded" else None), True
        response = field(payload, "response")
        body = field(response, "body")
        return (body if body is not None else response), True
    for wrapper in ("response", "message"):
        inner = field(payload, wrapper)
        if inner is not None and first(inner, "usage", "usageMetadata", "usage_metadata") is not None:
            return inner, field(payload, "key") is not None
    return payload, False


def _headers(payload: object, headers: Any) -> Mapping[str, object]:
    """Return the headers of a response, by their names in lower case."""
    given: Any = field(field(payload, "ResponseMetadata"), "HTTPHeaders") or headers
    if given is None:
        return _NO_HEADERS
    try:
        return {str(name).lower(): value for name, value in dict(given).items()}
    except Exception:
        return _NO_HEADERS


def _tier(body: Any, usage: Any, request: Any, headers: Mapping[str, object], notes: list[str]) -> str | None:
    """Return the tier that was served, else the one that was asked for."""
    if all(type(one) is dict and _TIER_FIELDS.isdisjoint(one) for one in (body, usage, request, headers)):
        return None
    holder = body if body.get("service_tier") is not None else usage
    if holder.get("service_tier") in ("default", "standard") and usage.get("speed") is None:
        return None
    latency = label(body.get("performanceConfig"), "latency") or label(
        headers, "x-amzn-bedrock-performanceconfig-latency"
    )
    if latency == "optimized":
        return latency
    served = label(holder, "service_tier")
    if holder is usage and label(usage, "speed") == "fast" and served != "batch":
        return "fast"
    if served is None:
        meta = first(body, "usageMetadata", "usage_metadata")
        served = (
            _TRAFFIC.get(label(meta, "trafficType", "traffic_type") or "")
            or label(meta, "serviceTier", "service_tier")
            or label(body.get("serviceTier"), "type")
            or label(headers, "x-gemini-service-tier", "x-amzn-bedrock-service-tier")
        )
    if served is not None:
        return _tier_name(served)
    asked = label(request, "service_tier", "serviceTier") or label(request.get("serviceTier"), "type")
    asked = _tier_name(asked) if asked is not None else None
    if asked is not None:
        notes.append("tier_from_request")
    return asked


def _tier_name(value: str) -> str | None:
    if value in _STANDARD:
        return None
    name = bounded(value).lower().removeprefix("service_tier_")
    return None if name in _STANDARD else name


def _region(usage: Any, request: Any, of_host: str | None) -> str | None:
    if usage.get("inference_geo") is None and type(request) is dict and request.keys().isdisjoint(_PLACES):
        return of_host
    geo = text(usage, "inference_geo") or text(request, *_PLACES) or of_host
    return None if geo in (None, "global", "not_available") else bounded(geo)
