"""From a provider's usage block to exclusive buckets, one function per shape of block.

Each returns the `Usage` of one sampling. Sub-counts that exceed their total are clamped and reported
through `Counts.inconsistent`; buckets are never negative and always add up to the provider's totals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import Counts, field, fields_of, first, items, label, number, path
from genledger.pricing.readers.token_split import TEXT_ONLY, Media, split
from genledger.pricing.usage import NO_UNITS, Usage


def _media(counts: Counts, details: Any, out: Any) -> Media:
    """Return the modalities in OpenAI-style `…_details` objects."""
    given, made = details.get, out.get
    found = given("audio_tokens") or given("image_tokens") or given("video_tokens")
    if not (found or made("audio_tokens") or made("image_tokens")):
        return TEXT_ONLY
    cached = given("cached_tokens_details")
    return Media(
        audio=counts(details, "audio_tokens"),
        image=counts(details, "image_tokens") + counts(details, "video_tokens"),
        cached_audio=counts(cached, "audio_tokens"),
        cached_image=counts(cached, "image_tokens"),
        audio_out=counts(out, "audio_tokens"),
        image_out=counts(out, "image_tokens"),
    )


_CHAT = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
"""What OpenAI says in a usage block; others who speak its format say more."""

_DETAILS = frozenset(("cached_tokens", "cache_write_tokens", "text_tokens", "audio_tokens", "image_tokens"))


def chat(counts: Counts, usage: Any, provider: str) -> Usage:
    """Chat completions, completions and embeddings in OpenAI's shape, and everyone who speaks it.

    Cached tokens are part of `prompt_tokens`. Reasoning is part of `completion_tokens`, except where the total shows
    that it is not: xAI's chat API documents total = prompt + completion + reasoning, and the same sum shows through
    resellers; Gemini's compatible endpoint leaves thoughts out of both. Mistral counts audio, and what connectors
    have added, beside `prompt_tokens`. DeepSeek names cached tokens `prompt_cache_hit_tokens`. Voyage's total has
    tokens of images as well, which are billed by their pixels.
    """
    usage = fields_of(usage)
    get, of = usage.get, counts.of
    details, out = fields_of(get("prompt_tokens_details")), fields_of(get("completion_tokens_details"))
    more = not (_CHAT.issuperset(usage) and _DETAILS.issuperset(details))
    if more:
        details = details or fields_of(get("prompt_token_details"))
        out = out or fields_of(get("completion_token_details"))
    total, completion = get("total_tokens"), of(get("completion_tokens"))
    prompt = counts.get(usage, "prompt_tokens")
    if prompt is None and provider == "voyageai":
        prompt = counts.get(usage, "text_tokens")
    if prompt is None:
        prompt = max(of(total) - completion, 0)
    cached, written, written_1h = details.get("cached_tokens"), of(details.get("cache_write_tokens")), 0
    reasoning, media, units = out.get("reasoning_tokens"), _media(counts, details, out), NO_UNITS
    if more:
        cached = _cached(usage) if cached is None else cached
        written = written or counts(details, "cache_creation_tokens", "cache_creation_input_tokens")
        written = written or counts(usage, "cache_creation_input_tokens")
        written_1h = counts(get("cache_creation"), "ephemeral_1h_input_tokens")
        written = max(written - written_1h, 0)
        reasoning = get("reasoning_tokens") if reasoning is None else reasoning
        units = _units(counts, usage, provider)
        prompt += counts(usage, "connector_tokens") if provider == "mistral" else 0
    reasoning = of(reasoning)
    if media.audio and provider == "mistral" and total == prompt + media.audio + completion:
        prompt += media.audio

    missing = None if total is None else of(total) - prompt - completion
    if missing != 0:
        if reasoning and (missing == reasoning or provider in ("x-ai", "perplexity")):
            if missing not in (None, reasoning) and provider == "x-ai":
                counts.inconsistent = True
            completion += reasoning
        elif not reasoning and missing and missing > 0 and provider in ("google", "vertex"):
            reasoning = missing
            completion += missing
    return split(
        counts,
        prompt,
        completion,
        cache_read=of(cached),
        cache_write=written,
        cache_write_1h=written_1h,
        reasoning=reasoning,
        media=media,
        units=units,
    )


def _units(counts: Counts, usage: Any, provider: str) -> Mapping[str, float]:
    """Return the units other than tokens in a usage block."""
    if provider == "mistral":
        seconds = number(usage.get("prompt_audio_seconds"))
        return {"second": seconds} if seconds else NO_UNITS
    if provider == "voyageai":
        pixels = counts(usage, "image_pixels") + counts(usage, "video_pixels")
        return {"pixel": pixels} if pixels else NO_UNITS
    if provider == "snowflake":
        guarded = counts(usage, "guard_tokens")
        return {"guard_token": guarded} if guarded else NO_UNITS
    if provider == "perplexity":
        named = (("num_search_queries", "web_search"), ("citation_tokens", "citation_token"))
        return {unit: amount for name, unit in named if (amount := counts(usage, name))} or NO_UNITS
    return NO_UNITS


def _cached(usage: Any) -> object:
    """Cached prompt tokens that are not in the details, under any of the names that providers use."""
    names = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
    return first(usage, *names)


def responses(counts: Counts, usage: Any, *, images: bool = False) -> Usage:
    """Return the Responses, Realtime, Images and Transcriptions APIs: every detail is part of its total.

    With `images`, output that is not itemised is image output.
    """
    usage = fields_of(usage)
    get = usage.get
    # DashScope's input has its details under OpenAI's older name.
    details = fields_of(get("input_tokens_details") or get("input_token_details") or get("prompt_tokens_details"))
    out = fields_of(get("output_tokens_details") or get("output_token_details"))
    generated = counts.of(get("output_tokens"))
    media = _media(counts, details, out)
    if images and out.get("image_tokens") is None:
        media = media._replace(image_out=max(generated - counts(out, "text_tokens"), 0))
    cached, written = details.get("cached_tokens"), details.get("cache_write_tokens")
    if cached is None:  # Perplexity has Anthropic's names for them
        cached, written = _cached(details) or _cached(usage), written or details.get("cache_creation_input_tokens")
    return split(
        counts,
        counts.of(get("input_tokens")),
        generated,
        cache_read=counts.of(cached),
        cache_write=counts.of(written),
        reasoning=counts.of(out.get("reasoning_tokens")),
        media=media,
    )


def anthropic(counts: Counts, usage: Any) -> Usage:
    """Anthropic Messages: cache reads and writes come on top of `input_tokens`; thinking is inside output.

    The lifetimes in `cache_creation` break `cache_creation_input_tokens` down; what they leave is a write of
    the default five minutes.
    """
    usage = fields_of(usage)
    get, of = usage.get, counts.of
    written, long = of(get("cache_creation_input_tokens")), 0
    lifetimes = get("cache_creation")
    if lifetimes is not None:
        lifetimes = fields_of(lifetimes)
        long = of(lifetimes.get("ephemeral_1h_input_tokens"))
        listed = long + of(lifetimes.get("ephemeral_5m_input_tokens"))
        if listed > written:
            if written:
                counts.inconsistent = True
            written = listed
    generated, thought = of(get("output_tokens")), 0
    details = get("output_tokens_details")
    if details is not None:
        thought = counts.clamp(counts(details, "thinking_tokens"), generated)
    tools = get("server_tool_use")
    searches = counts(tools, "web_search_requests") if tools is not None else 0
    return Usage(
        input=of(get("input_tokens")),
        cache_read=of(get("cache_read_input_tokens")),
        cache_write=written - long,
        cache_write_1h=long,
        output=generated - thought,
        reasoning=thought,
        units={"web_search": searches} if searches else NO_UNITS,
    )


def converse(counts: Counts, usage: object) -> Usage:
    """Bedrock Converse and Nova: cache reads and writes come on top of `inputTokens`.

    `cacheDetails` names the lifetime of each write.
    """
    written = counts(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    long = sum(counts(detail, "inputTokens") for detail in items(usage, "cacheDetails") if field(detail, "ttl") == "1h")
    long = counts.clamp(long, written)
    return Usage(
        input=counts(usage, "inputTokens", "inputTokenCount"),
        cache_read=counts(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        cache_write=written - long,
        cache_write_1h=long,
        output=counts(usage, "outputTokens", "outputTokenCount"),
    )


def _modalities(counts: Counts, block: object, *names: str) -> dict[str, int]:
    """Gemini's list of (modality, tokens), folded into audio and image; video is billed with image."""
    found = {"audio": 0, "image": 0, "listed": 0}
    entries = first(block, *names)
    for entry in entries if isinstance(entries, (list, tuple)) else ():
        count = counts(entry, "tokenCount", "token_count", "tokens")
        found["listed"] += count
        modality = (label(entry, "modality") or "").lower()
        if modality == "audio":
            found["audio"] += count
        elif modality in ("image", "video"):
            found["image"] += count
    return found


def gemini(counts: Counts, meta: object) -> Usage:
    """Gemini: cached tokens are part of the prompt; thoughts and tool prompts come on top."""
    prompt = counts(meta, "promptTokenCount", "prompt_token_count")
    tool = counts(meta, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    candidates = counts(
        meta, "candidatesTokenCount", "candidates_token_count", "responseTokenCount", "response_token_count"
    )
    thoughts = counts(meta, "thoughtsTokenCount", "thoughts_token_count")
    into = _modalities(counts, meta, "promptTokensDetails", "prompt_tokens_details", "promptTokenDetails")
    tools = _modalities(counts, meta, "toolUsePromptTokensDetails", "tool_use_prompt_tokens_details")
    cached = _modalities(counts, meta, "cacheTokensDetails", "cache_tokens_details")
    out = _modalities(
        counts,
        meta,
        "candidatesTokensDetails",
        "candidates_tokens_details",
        "responseTokensDetails",
        "response_tokens_details",
    )
    if prompt == 0:
        prompt = into["listed"]
    if candidates == 0:
        candidates = out["listed"]
    return split(
        counts,
        prompt + tool,
        candidates + thoughts,
        cache_read=counts(meta, "cachedContentTokenCount", "cached_content_token_count"),
        reasoning=thoughts,
        media=Media(
            into["audio"] + tools["audio"],
            into["image"] + tools["image"],
            cached["audio"],
            cached["image"],
            out["audio"],
            out["image"],
        ),
    )


def interactions(counts: Counts, usage: object) -> Usage:
    """Gemini Interactions: like Gemini, with totals per kind."""
    into = _modalities(counts, usage, "input_tokens_by_modality")
    cached = _modalities(counts, usage, "cached_tokens_by_modality")
    out = _modalities(counts, usage, "output_tokens_by_modality")
    thoughts = counts(usage, "total_thought_tokens", "total_reasoning_tokens")
    return split(
        counts,
        counts(usage, "total_input_tokens") + counts(usage, "total_tool_use_tokens"),
        counts(usage, "total_output_tokens") + thoughts,
        cache_read=counts(usage, "total_cached_tokens"),
        reasoning=thoughts,
        media=Media(into["audio"], into["image"], cached["audio"], cached["image"], out["audio"], out["image"]),
    )


def cohere(counts: Counts, billed: object) -> Usage:
    """Cohere's `billed_units`: what is on the bill. `tokens` beside it include a preamble that is not."""
    units: dict[str, float] = {}
    for name, unit in (
        ("search_units", "search_unit"),
        ("images", "image"),
        ("classifications", "classification"),
        ("pages", "page"),
    ):
        amount = number(field(billed, name))
        if amount:
            units[unit] = amount
    return Usage(
        input=counts(billed, "input_tokens"),
        input_image=counts(billed, "image_tokens"),
        output=counts(billed, "output_tokens"),
        units=units,
    )


def invoke_model(counts: Counts, body: object) -> Usage:
    """Bodies of Bedrock models that count in their own words: Titan, Llama, and the stream's metrics."""
    metrics = field(body, "amazon-bedrock-invocationMetrics")
    if metrics is not None:
        return converse(counts, metrics)
    results = sum(counts(result, "tokenCount") for result in items(body, "results"))
    return Usage(
        input=counts(body, "inputTextTokenCount", "prompt_token_count"),
        output=results or counts(body, "generation_token_count", "totalOutputTextTokenCount"),
    )


def bedrock_headers(counts: Counts, headers: object) -> Usage:
    """Return the counts that Bedrock's InvokeModel puts in the response headers, always as on the bill."""

    def count(kind: str) -> int:
        raw = field(headers, f"x-amzn-bedrock-{kind}-token-count")
        return counts({"n": int(raw) if isinstance(raw, str) and raw.isdigit() else raw}, "n")

    return Usage(
        input=count("input"),
        cache_read=count("cache-read-input"),
        cache_write=count("cache-write-input"),
        output=count("output"),
    )


def ollama(counts: Counts, body: object) -> Usage:
    """Ollama's own API."""
    return Usage(input=counts(body, "prompt_eval_count"), output=counts(body, "eval_count"))


def text_generation(counts: Counts, body: object) -> Usage | None:
    """Text Generation Inference: the details of each text, with those of every sequence that was generated for it.

    A stream counts the prompt in `input_length`; a whole answer lists it in `prefill`, if it was asked to.
    https://huggingface.co/docs/text-generation-inference/reference/api_reference
    """
    total: Usage | None = None
    for one in (*items(body, "generated"), body):
        details = field(one, "details")
        written = counts.get(details, "generated_tokens")
        if written is None:
            continue
        rest = sum(counts(other, "generated_tokens") for other in items(details, "best_of_sequences"))
        given = counts(details, "input_length") or sum(1 for _ in items(details, "prefill"))
        counts.inconsistent = counts.inconsistent or not given  # nothing is generated from nothing
        usage = Usage(input=given, output=written + rest)
        total = usage if total is None else total + usage
    return total


_WATSONX = ("input_token_count", "generated_token_count")


def watsonx(counts: Counts, body: object) -> Usage | None:
    """IBM watsonx.ai: counts in each result of a generation, one beside the results of an embedding or a rerank.

    https://cloud.ibm.com/apidocs/watsonx-ai
    """
    holders = [one for one in (*items(body, "results"), body) if first(one, *_WATSONX) is not None]
    if not holders:
        return None
    return Usage(
        input=sum(counts(one, "input_token_count") for one in holders),
        output=sum(counts(one, "generated_token_count") for one in holders),
    )


def embedding_statistics(counts: Counts, body: object) -> Usage:
    """Google embeddings: token counts beside each vector."""
    vectors = [*items(body, "embeddings"), *items(body, "predictions"), field(body, "embedding")]
    total = 0
    for vector in vectors:
        statistics = first(vector, "statistics") or path(vector, "embeddings", "statistics")
        total += counts(statistics, "tokenCount", "token_count")
    return Usage(input=total)
