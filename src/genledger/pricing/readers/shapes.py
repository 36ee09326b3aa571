"""From a provider's usage block to exclusive buckets, one function per shape of block.

Each returns the `Usage` of one sampling. Sub-counts that exceed their total are clamped and reported
through `Counts.inconsistent`; buckets are never negative and always add up to the provider's totals.
"""

from __future__ import annotations

from genledger.pricing.getters import Counts, field, first, items, label, number, path
from genledger.pricing.usage import Usage


def _input(
    counts: Counts,
    total: int,
    *,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    audio: int = 0,
    image: int = 0,
    cached_audio: int = 0,
    cached_image: int = 0,
) -> dict[str, int]:
    """Split a total that includes everything. `audio` and `image` include their cached part."""
    cache_read = counts.clamp(cache_read, total)
    cache_write_1h = counts.clamp(cache_write_1h, total - cache_read)
    cache_write = counts.clamp(cache_write, total - cache_read - cache_write_1h)
    audio = counts.clamp(audio, total)
    image = counts.clamp(image, total - audio)
    cached_audio = min(cached_audio, audio, cache_read)
    cached_image = min(cached_image, image, cache_read - cached_audio)
    audio -= cached_audio
    image -= cached_image
    # Where the provider does not say which modality was cached, tokens counted twice are cached media.
    twice = cache_read + cache_write + cache_write_1h + audio + image - total
    if twice > 0:
        moved = min(twice, audio, cache_read - cached_audio - cached_image)
        audio, cached_audio, twice = audio - moved, cached_audio + moved, twice - moved
        moved = min(twice, image, cache_read - cached_audio - cached_image)
        image, cached_image, twice = image - moved, cached_image + moved, twice - moved
        moved = min(twice, audio)
        audio, twice = audio - moved, twice - moved
        image -= min(twice, image)
    return {
        "input": total - cache_read - cache_write - cache_write_1h - audio - image,
        "input_audio": audio,
        "input_image": image,
        "cache_read": cache_read - cached_audio - cached_image,
        "cache_read_audio": cached_audio,
        "cache_read_image": cached_image,
        "cache_write": cache_write,
        "cache_write_1h": cache_write_1h,
    }


def _output(counts: Counts, total: int, *, reasoning: int = 0, audio: int = 0, image: int = 0) -> dict[str, int]:
    """Split a total that includes reasoning and every modality."""
    audio = counts.clamp(audio, total)
    image = counts.clamp(image, total - audio)
    reasoning = counts.clamp(reasoning, total - audio - image)
    return {
        "output": total - reasoning - audio - image,
        "reasoning": reasoning,
        "output_audio": audio,
        "output_image": image,
    }


def _details(counts: Counts, block: object) -> dict[str, int]:
    """The modality and cache counts of an OpenAI-style `…_details` object."""
    if block is None:
        return {"audio": 0, "image": 0, "cached_audio": 0, "cached_image": 0}
    cached = field(block, "cached_tokens_details")
    return {
        "audio": counts(block, "audio_tokens"),
        "image": counts(block, "image_tokens") + counts(block, "video_tokens"),
        "cached_audio": counts(cached, "audio_tokens"),
        "cached_image": counts(cached, "image_tokens"),
    }


def chat(counts: Counts, usage: object, provider: str) -> Usage:
    """Chat completions, completions and embeddings in OpenAI's shape, and everyone who speaks it.

    Cached tokens are part of `prompt_tokens`. Reasoning is part of `completion_tokens`, except where the
    total shows that it is not: xAI's chat API documents total = prompt + completion + reasoning, and the
    same sum shows through resellers; Gemini's compatible endpoint leaves thoughts out of both. Mistral
    counts audio beside `prompt_tokens`. DeepSeek names cached tokens `prompt_cache_hit_tokens`.
    """
    details = first(usage, "prompt_tokens_details", "prompt_token_details")
    out = first(usage, "completion_tokens_details", "completion_token_details")
    total = counts.get(usage, "total_tokens")
    completion = counts(usage, "completion_tokens")
    prompt = counts.get(usage, "prompt_tokens")
    if prompt is None:
        prompt = max((total or 0) - completion, 0)
    reasoning = counts.get(out, "reasoning_tokens")
    reasoning = counts(usage, "reasoning_tokens") if reasoning is None else reasoning

    parts = _details(counts, details)
    units: dict[str, float] = {}
    if provider == "mistral":
        seconds = number(field(usage, "prompt_audio_seconds"))
        if seconds:
            units["second"] = seconds
        if parts["audio"] and total == prompt + parts["audio"] + completion:
            prompt += parts["audio"]
    elif provider == "perplexity":
        for name, unit in (("num_search_queries", "web_search"), ("citation_tokens", "citation_token")):
            if amount := counts(usage, name):
                units[unit] = amount

    missing = None if total is None else total - prompt - completion
    if reasoning and (missing == reasoning or (missing != 0 and provider in ("x-ai", "perplexity"))):
        if missing not in (None, reasoning) and provider == "x-ai":
            counts.inconsistent = True
        completion += reasoning
    elif not reasoning and missing and missing > 0 and provider in ("google", "vertex"):
        reasoning = missing
        completion += missing

    write_1h = counts(field(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    write = counts(details, "cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
    write = write or counts(usage, "cache_creation_input_tokens")
    return Usage(
        **_input(
            counts,
            prompt,
            cache_read=_cached(counts, usage, details),
            cache_write=max(write - write_1h, 0),
            cache_write_1h=write_1h,
            **parts,
        ),
        **_output(
            counts,
            completion,
            reasoning=reasoning,
            audio=counts(out, "audio_tokens"),
            image=counts(out, "image_tokens"),
        ),
        units=units,
    )


def _cached(counts: Counts, usage: object, details: object) -> int:
    """Cached prompt tokens, under any of the names that OpenAI-compatible providers use."""
    for block, name in (
        (details, "cached_tokens"),
        (usage, "prompt_cache_hit_tokens"),
        (usage, "cached_tokens"),
        (usage, "num_cached_tokens"),
        (usage, "cache_read_input_tokens"),
    ):
        found = counts.get(block, name)
        if found is not None:
            return found
    return 0


def responses(counts: Counts, usage: object, *, images: bool = False) -> Usage:
    """The Responses, Realtime, Images and Transcriptions APIs: every detail is part of its total.

    With `images`, output that is not itemised is image output.
    """
    details = first(usage, "input_tokens_details", "input_token_details")
    out = first(usage, "output_tokens_details", "output_token_details")
    total_in = counts(usage, "input_tokens")
    total_out = counts(usage, "output_tokens")
    image = counts.get(out, "image_tokens")
    if image is None:
        image = max(total_out - counts(out, "text_tokens"), 0) if images else 0
    return Usage(
        **_input(
            counts,
            total_in,
            cache_read=_cached(counts, usage, details),
            cache_write=counts(details, "cache_write_tokens"),
            **_details(counts, details),
        ),
        **_output(
            counts,
            total_out,
            reasoning=counts(out, "reasoning_tokens"),
            audio=counts(out, "audio_tokens"),
            image=image,
        ),
        units={},
    )


def anthropic(counts: Counts, usage: object) -> Usage:
    """Anthropic Messages: cache reads and writes come on top of `input_tokens`; thinking is inside output.

    The lifetimes in `cache_creation` break `cache_creation_input_tokens` down; what they leave is a write of
    the default five minutes.
    """
    written = counts(usage, "cache_creation_input_tokens")
    lifetimes = field(usage, "cache_creation")
    long = counts(lifetimes, "ephemeral_1h_input_tokens")
    short = counts(lifetimes, "ephemeral_5m_input_tokens")
    if long + short > written:
        if written:
            counts.inconsistent = True
        written = long + short
    output = _output(
        counts,
        counts(usage, "output_tokens"),
        reasoning=counts(field(usage, "output_tokens_details"), "thinking_tokens"),
    )
    searches = counts(field(usage, "server_tool_use"), "web_search_requests")
    return Usage(
        input=counts(usage, "input_tokens"),
        cache_read=counts(usage, "cache_read_input_tokens"),
        cache_write=written - long,
        cache_write_1h=long,
        units={"web_search": searches} if searches else {},
        **output,
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
    return Usage(
        **_input(
            counts,
            prompt + tool,
            cache_read=counts(meta, "cachedContentTokenCount", "cached_content_token_count"),
            audio=into["audio"] + tools["audio"],
            image=into["image"] + tools["image"],
            cached_audio=cached["audio"],
            cached_image=cached["image"],
        ),
        **_output(counts, candidates + thoughts, reasoning=thoughts, audio=out["audio"], image=out["image"]),
        units={},
    )


def interactions(counts: Counts, usage: object) -> Usage:
    """Gemini Interactions: like Gemini, with totals per kind."""
    into = _modalities(counts, usage, "input_tokens_by_modality")
    cached = _modalities(counts, usage, "cached_tokens_by_modality")
    out = _modalities(counts, usage, "output_tokens_by_modality")
    thoughts = counts(usage, "total_thought_tokens", "total_reasoning_tokens")
    return Usage(
        **_input(
            counts,
            counts(usage, "total_input_tokens") + counts(usage, "total_tool_use_tokens"),
            cache_read=counts(usage, "total_cached_tokens"),
            audio=into["audio"],
            image=into["image"],
            cached_audio=cached["audio"],
            cached_image=cached["image"],
        ),
        **_output(
            counts,
            counts(usage, "total_output_tokens") + thoughts,
            reasoning=thoughts,
            audio=out["audio"],
            image=out["image"],
        ),
        units={},
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
    """The counts that Bedrock's InvokeModel puts in the response headers, always as on the bill."""

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


def embedding_statistics(counts: Counts, body: object) -> Usage:
    """Google embeddings: token counts beside each vector."""
    vectors = [*items(body, "embeddings"), *items(body, "predictions"), field(body, "embedding")]
    total = 0
    for vector in vectors:
        statistics = first(vector, "statistics") or path(vector, "embeddings", "statistics")
        total += counts(statistics, "tokenCount", "token_count")
    return Usage(input=total)
