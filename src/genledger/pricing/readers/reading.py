"""What an answer says about its own cost: usage, model, tier, region, and perhaps the amount itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from genledger.pricing.getters import Counts, field, first, items, label, number, path, text
from genledger.pricing.names import canonical_provider, deployment_of_url, region_of_host
from genledger.pricing.readers import shapes
from genledger.pricing.readers.tools import image_tool, tool_calls, units_of
from genledger.pricing.reported import reported_cost
from genledger.pricing.usage import Usage
from genledger.shared.text import bounded

_STANDARD = frozenset(
    {"", "default", "standard", "auto", "on_demand", "ondemand", "standard_only", "unspecified", "reserved"}
)
_BATCH_APIS = frozenset({"batch", "batches", "message_batches", "batchGenerateContent"})
_BLOCK_UNITS = (("seconds", "second"), ("characters", "character"), ("search_units", "search_unit"))
_TRAFFIC = {
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "PROVISIONED_THROUGHPUT": "provisioned",
}


@dataclass(slots=True)
class Reading:
    """What one answer reports.

    `model` is the model that answered, else the one asked for; `requested` is always the one asked for
    (a deployment, an ARN). `tier` is what the provider says it served: `batch`, `flex`, `priority`, `fast`,
    another provider's own word, or `None` for standard. `reported` is the cost in USD, from a provider that
    reports costs. `context` is the size of the largest prompt, in tokens, when the call sampled more than once,
    because long-context rates look at each prompt. `also` is what other models consumed within the same call.
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
        return _read(provider, api, payload, request, base_url, headers)
    except Exception:
        return None


def _read(
    provider: str, api: str, payload: object, request: object, base_url: str | None, headers: object
) -> Reading | None:
    name = canonical_provider(provider, base_url)
    body, line = _unwrap(payload)
    if (body is None and line) or field(body, "object") == "batch":
        return None
    headers = _lower(field(field(payload, "ResponseMetadata"), "HTTPHeaders") or headers)
    asked = _asked(request) or (deployment_of_url(base_url) if base_url else None)
    answered = text(body, "model", "modelVersion", "model_version", "modelId", "model_id") or text(payload, "model")
    # Bedrock answers with the bare model; the profile or ARN that was asked for decides the price.
    model = (asked or answered) if name == "aws" else (answered or asked)

    counts = Counts()
    notes: list[str] = []
    usage, context, also = _usage(counts, name, api, body, request, headers, model)
    units = tool_calls(counts, name, body, model, request)
    if units:
        usage = usage or Usage()
        usage = replace(usage, units={**usage.units, **units})
    also += image_tool(counts, body)
    reported = reported_cost(provider, base_url, body, headers, notes)
    if usage is None and reported is None and not also:
        return None
    if counts.inconsistent:
        notes.append("usage_inconsistent")
    tier = _tier(api, body, request, headers, line, notes)
    return Reading(
        usage=usage or Usage(),
        model=model,
        tier=tier,
        region=_region(body, request, base_url),
        reported=reported,
        notes=tuple(notes),
        requested=asked,
        context=context,
        also=also,
    )


def _asked(request: object) -> str | None:
    if request is None:
        return None
    return text(request, "model", "modelId", "model_id", "modelName") or text(
        path(request, "rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration"),
        "modelArn",
    )


def _unwrap(payload: object) -> tuple[object, bool]:
    """The answer itself, and whether it came in a line of a batch result; `None` for a line that failed.

    Answers also come inside a stream's closing event (`response.completed`, `response.done`).
    """
    if field(payload, "usage") is not None:
        return payload, False
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


def _lower(headers: object) -> dict[str, object]:
    if headers is None:
        return {}
    try:
        return {str(name).lower(): value for name, value in dict(headers).items()}  # type: ignore[call-overload]
    except Exception:
        return {}


def _usage(
    counts: Counts,
    provider: str,
    api: str,
    body: object,
    request: object,
    headers: dict[str, object],
    model: str | None,
) -> tuple[Usage | None, int | None, tuple[tuple[str, Usage], ...]]:
    """The buckets, the largest single prompt, and what other models consumed."""
    usage = field(body, "usage")
    if usage is not None and field(usage, "prompt_tokens") is not None:
        return shapes.chat(counts, usage, provider), None, ()
    meta = first(body, "usageMetadata", "usage_metadata")
    if meta is not None:
        return shapes.gemini(counts, meta), None, ()
    billed = field(usage, "billed_units") or path(body, "meta", "billed_units")
    if billed is not None:
        return shapes.cohere(counts, billed), None, ()
    if usage is not None and not (_partial(usage) and _in_bedrock_headers(headers)):
        block = _usage_block(counts, provider, api, usage, model)
        if block is not None:
            return block
    return _without_block(counts, provider, api, body, request, headers), None, ()


def _has(usage: object, *names: str) -> bool:
    return first(usage, *names) is not None


def _partial(usage: object) -> bool:
    """Whether a count is missing: a guardrail of Bedrock that changes an answer takes its output tokens out."""
    return _has(usage, "inputTokens", "input_tokens") != _has(usage, "outputTokens", "output_tokens")


def _in_bedrock_headers(headers: dict[str, object]) -> bool:
    return any(name.startswith("x-amzn-bedrock-") and name.endswith("-token-count") for name in headers)


def _usage_block(
    counts: Counts, provider: str, api: str, usage: object, model: str | None
) -> tuple[Usage | None, int | None, tuple[tuple[str, Usage], ...]] | None:
    if _has(usage, "prompt_tokens", "completion_tokens"):
        return shapes.chat(counts, usage, provider), None, ()
    if _has(usage, "inputTokens", "outputTokens"):
        return shapes.converse(counts, usage), None, ()
    if _has(usage, "total_input_tokens", "total_output_tokens"):
        return shapes.interactions(counts, usage), None, ()
    if _has(usage, "input_tokens", "output_tokens"):
        if _is_anthropic(provider, api, usage, model):
            return _sampled(counts, usage, model)
        context = counts.get(field(usage, "context_details"), "input_tokens")
        return shapes.responses(counts, usage, images=api == "images"), context, ()
    for name, unit in _BLOCK_UNITS:
        amount = number(field(usage, name))
        if amount:
            return Usage(units={unit: amount}), None, ()
    if _has(usage, "total_tokens"):
        return shapes.chat(counts, usage, provider), None, ()
    return None


def _is_anthropic(provider: str, api: str, usage: object, model: str | None) -> bool:
    if api == "messages" or provider == "anthropic":
        return True
    if _has(usage, "input_tokens_details", "input_token_details"):
        return False
    return _has(usage, "cache_creation_input_tokens", "cache_read_input_tokens") or (
        api in ("invoke_model", "batch") and "claude" in (model or "")
    )


def _sampled(
    counts: Counts, usage: object, model: str | None
) -> tuple[Usage, int | None, tuple[tuple[str, Usage], ...]]:
    """Anthropic's usage with its `iterations`.

    The totals on top cover the message iterations only. A compaction is billed beside them at the same
    model's rates, an advisor at its own model's (Anthropic: compaction, advisor tool).
    """
    total = shapes.anthropic(counts, usage)
    also: list[tuple[str, Usage]] = []
    context: int | None = None
    for iteration in items(usage, "iterations"):
        one = shapes.anthropic(counts, iteration)
        other = text(iteration, "model")
        if other is not None and other != model:
            also.append((other, one))
            continue
        context = max(context or 0, one.input_tokens)
        if field(iteration, "type") == "compaction":
            total = _sum(total, one)
    return total, context, tuple(also)


def _sum(a: Usage, b: Usage) -> Usage:
    return Usage(
        input=a.input + b.input,
        cache_read=a.cache_read + b.cache_read,
        cache_write=a.cache_write + b.cache_write,
        cache_write_1h=a.cache_write_1h + b.cache_write_1h,
        output=a.output + b.output,
        reasoning=a.reasoning + b.reasoning,
        units=a.units,
    )


def _without_block(
    counts: Counts, provider: str, api: str, body: object, request: object, headers: dict[str, object]
) -> Usage | None:
    """Answers that report usage outside a usage block, or bill by something else than tokens."""
    if _has(
        body,
        "inputTextTokenCount",
        "prompt_token_count",
        "generation_token_count",
        "amazon-bedrock-invocationMetrics",
    ):
        return shapes.invoke_model(counts, body)
    if _has(body, "prompt_eval_count", "eval_count"):
        return shapes.ollama(counts, body)
    if _in_bedrock_headers(headers):
        return shapes.bedrock_headers(counts, headers)
    if api in ("embedContent", "embeddings", "embed"):
        usage = shapes.embedding_statistics(counts, body)
        return usage if usage.input else None
    units = units_of(provider, api, body, request)
    return Usage(units=units) if units else None


def _tier(
    api: str, body: object, request: object, headers: dict[str, object], line: bool, notes: list[str]
) -> str | None:
    """The tier that was served. Batch bodies do not say that they are, so the caller's word counts there."""
    if line or api in _BATCH_APIS or field(request, "batch") is True:
        return "batch"
    served = label(body, "service_tier")
    if served is None:
        usage = field(body, "usage")
        served = label(usage, "service_tier")
        if label(usage, "speed") == "fast" and served != "batch":
            return "fast"
    if served is None:
        meta = first(body, "usageMetadata", "usage_metadata")
        served = (
            _TRAFFIC.get(label(meta, "trafficType", "traffic_type") or "")
            or label(meta, "serviceTier", "service_tier")
            or label(field(body, "serviceTier"), "type")
            or label(headers, "x-gemini-service-tier", "x-amzn-bedrock-service-tier")
        )
    if served is not None:
        return _tier_name(served)
    asked = _tier_name(
        label(request, "service_tier", "serviceTier") or label(field(request, "serviceTier"), "type") or ""
    )
    if asked is not None:
        notes.append("tier_from_request")
    return asked


def _tier_name(value: str) -> str | None:
    name = bounded(value).lower().removeprefix("service_tier_")
    return None if name in _STANDARD else name


def _region(body: object, request: object, base_url: str | None) -> str | None:
    geo = text(field(body, "usage"), "inference_geo")
    if geo is None:
        geo = text(request, "inference_geo", "region", "location", "vertex_location", "data_residency")
    if geo is None and base_url is not None:
        geo = region_of_host(base_url)
    return None if geo in (None, "global", "not_available", "") else bounded(geo)
