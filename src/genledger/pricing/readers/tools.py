"""Usage of an answer other than tokens: tool calls, sessions, images, seconds, characters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from genledger.pricing.getters import Counts, duration, field, first, items, label, number, path, text
from genledger.pricing.readers import heard_audio, shapes
from genledger.pricing.usage import Usage
from genledger.shared.text import bounded

_PER_PROMPT = re.compile(r"gemini-(live-)?[12]\.\d")
_SEARCH_MODEL = re.compile(r"-search-(preview|api)")
_DOCUMENTS_PER_SEARCH = 100
_LEAST_SECONDS = {"groq": 10.0}
"""Groq bills at least ten seconds per transcription (Groq: speech to text)."""

_BILLED_IN_HEADERS = (("character-cost", "credit"), ("x-fal-billable-units", "billable_unit"))
"""What ElevenLabs and fal count what is billed in."""

_SERVED = (
    ("web_search_calls", "web_search"),
    ("x_search_calls", "x_search"),
    ("code_interpreter_calls", "code_execution"),
    ("document_search_calls", "file_search"),
    ("file_search_calls", "file_search"),
)
_BILLED = ("web_search_call", "file_search_call", "code_interpreter_call")
_INVOKED = ("web_search", "search_web")
"""Perplexity's names of the tool that is billed by the search."""

_SEARCHED = ("search", "browser_search")
"""Types of the tools with which Groq's systems search the web. https://console.groq.com/docs/compound/built-in-tools"""

_CONNECTORS = ("web_search", "web_search_premium", "image_generation", "code_interpreter")


def tool_calls(
    counts: Counts, provider: str, body: Any, usage: Any, model: str | None, request: Any
) -> dict[str, float]:
    """Billable tool calls, counted where each provider leaves their traces."""
    units = _output_items(counts, body, request) if body.get("output") is not None else {}
    served = usage.get("server_side_tool_usage_details")
    if served is not None:
        units |= {unit: float(counts(served, name)) for name, unit in _SERVED}
    connectors = usage.get("connectors")
    if connectors is not None:
        units |= {f"connector_{name}": float(counts(connectors, name)) for name in _CONNECTORS}
    invoked = usage.get("tool_calls_details")
    if invoked is not None:
        units["web_search"] = float(sum(counts(field(invoked, name), "invocation") for name in _INVOKED))
    if model and "-search-" in model and _SEARCH_MODEL.search(model) and body.get("choices") is not None:
        units["web_search"] = 1.0
    if provider == "groq":
        ran = (tool for choice in items(body, "choices") for tool in items(field(choice, "message"), "executed_tools"))
        units["web_search"] = float(sum(field(tool, "type") in _SEARCHED for tool in ran))
    if provider in ("zai", "zhipuai") and next(items(body, "web_search"), None) is not None:
        units["web_search"] = 1.0
    if provider in ("google", "vertex"):
        units.update(_grounding(body, usage, model or ""))
    if provider == "aws":
        units |= _guarded(counts, body, usage)
    if provider == "oci":
        units |= _transactions(body, model, request)
    return {unit: calls for unit, calls in units.items() if calls} if units else units


_BY_THE_CHARACTER = ("cohere.", "meta.")


def _transactions(body: Any, model: str | None, request: Any) -> dict[str, float]:
    """Oracle bills the characters of prompts and answers, of these models when they are served on demand.

    https://docs.oracle.com/en-us/iaas/Content/generative-ai/pay-on-demand.htm
    """
    made = number(body.get("characters"))
    if made is None or request.get("serving_type") != "ON_DEMAND" or not (model or "").startswith(_BY_THE_CHARACTER):
        return {}
    said = [field(message, "content") for message in items(request, "messages")]
    said += [request.get("prompt"), request.get("inputs")]
    return {"character": made + sum(map(_length, said))}


def _length(content: object) -> int:
    """Return the characters of a text, or of the texts in a list of parts."""
    if isinstance(content, (list, tuple)):
        return sum(_length(part if isinstance(part, str) else field(part, "text")) for part in content)
    return len(content) if isinstance(content, str) else 0


def _output_items(counts: Counts, body: Any, request: Any) -> dict[str, float]:
    """OpenAI's Responses: each billable call is an item of the output.

    Searches are billed, opening a page that was found is not. A code interpreter session is one container;
    a container that the request names was created, and billed, elsewhere. Where the answer carries its own
    count (`tool_usage.web_search.num_requests`) that count is the bill.
    """
    output = body.get("output")
    made = output if isinstance(output, (list, tuple)) else ()
    calls = [(kind, item) for item in made if (kind := field(item, "type")) in _BILLED]
    if not calls:
        return {}
    units: dict[str, float] = {}
    containers: set[str] = set()
    search = "web_search"
    own: set[str | None] = set()
    for holder in (body, request):
        for tool in items(holder, "tools"):
            own.add(text(tool, "container"))
            if "web_search_preview" in (text(tool, "type") or ""):
                search = "web_search_preview"
    for kind, item in calls:
        if kind == "web_search_call" and path(item, "action", "type") in (None, "search"):
            units[search] = units.get(search, 0.0) + 1.0
        elif kind == "file_search_call":
            units["file_search"] = units.get("file_search", 0.0) + 1.0
        elif kind == "code_interpreter_call":
            containers.add(text(item, "container_id") or "")
    units["code_session"] = float(len(containers - own))
    searched = counts.get(path(body, "tool_usage", "web_search"), "num_requests")
    if searched is not None and search in units:
        units[search] = float(searched)
    return units


_GUARDRAIL = (
    ("contentPolicyUnits", "guardrail_content"),
    ("contentPolicyImageUnits", "guardrail_image"),
    ("topicPolicyUnits", "guardrail_topic"),
    ("sensitiveInformationPolicyUnits", "guardrail_sensitive_information"),
    ("contextualGroundingPolicyUnits", "guardrail_grounding"),
    ("automatedReasoningPolicyUnits", "guardrail_automated_reasoning"),
)
"""Bedrock's guardrails count a unit for each 1,000 characters and policy; word filters are free."""


def _guarded(counts: Counts, body: Any, usage: Any) -> dict[str, float]:
    """What guardrails counted: in an answer of their own, or in the trace of a model's, if that was asked for."""
    trace = body.get("trace") or body.get("amazon-bedrock-trace")
    assessed = [usage, *_assessments(field(trace, "guardrail"))]
    return {unit: float(sum(counts(one, name) for one in assessed)) for name, unit in _GUARDRAIL}


def _assessments(value: object, depth: int = 4) -> Iterator[object]:
    """Yield the usage of each assessment in a trace: by guardrail, of the input and of each output."""
    found = path(value, "invocationMetrics", "usage")
    if found is not None:
        yield found
    elif depth:
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for one in inner:
            yield from _assessments(one, depth - 1)


def _grounding(body: object, usage: object, model: str) -> dict[str, float]:
    """Gemini 3 bills each search query; Gemini 2 bills a grounded prompt once for all its queries.

    An interaction counts them in its usage.
    """
    queries = maps = 0
    for tool in items(usage, "grounding_tool_count"):
        count = int(number(field(tool, "count")) or 0)
        queries += count if label(tool, "type") == "google_search" else 0
        maps = maps or int(label(tool, "type") == "google_maps" and count > 0)
    for candidate in items(body, "candidates"):
        metadata = first(candidate, "groundingMetadata", "grounding_metadata")
        for key in ("webSearchQueries", "web_search_queries"):
            queries += sum(1 for query in items(metadata, key) if query)
        for key in ("groundingChunks", "grounding_chunks"):
            maps = maps or int(any(field(chunk, "maps") is not None for chunk in items(metadata, key)))
    if _PER_PROMPT.search(model):
        queries = min(queries, 1)
    return {"web_search": float(queries), "maps_search": float(maps)}


def image_tool(counts: Counts, body: object) -> tuple[tuple[str, Usage], ...]:
    """Return the usage of the Responses API's image generation tool, billed at its own model's rates."""
    block = path(body, "tool_usage", "image_gen")
    if block is None:
        return ()
    usage = shapes.responses(counts, block, images=True)
    if not usage.total_tokens:
        return ()
    models = (text(tool, "model") for tool in items(body, "tools") if field(tool, "type") == "image_generation")
    return ((next((model for model in models if model), "gpt-image-1"), usage),)


def units_of(provider: str, api: str, body: object, request: object, headers: Mapping[str, object]) -> dict[str, float]:
    """Return the units of answers that have no token counts at all."""
    if api in ("transcriptions", "audio_transcriptions", "translations"):
        parts = (body, *items(body, "transcripts"))  # of ElevenLabs, where each channel has one
        seconds = duration(field(body, "duration")) or sum(
            duration(field(part, "audio_duration_secs")) or 0.0 for part in parts
        )
        least = _LEAST_SECONDS.get(provider, 0.0)
        return dict(heard_audio.heard(provider, request, max(seconds, least) if seconds else 0.0))
    if api == "live_transcriptions":
        unit = "multilingual_live_second" if field(request, "language") == "multi" else "live_second"
        return dict(heard_audio.heard(provider, request, duration(field(body, "duration")) or 0.0, unit))
    for header, unit in _BILLED_IN_HEADERS:
        if billed := duration(headers.get(header)):
            return {unit: billed}
    if api in ("speech", "audio_speech"):
        characters = duration(headers.get("dg-char-count")) or _spoken(request)
        return {"character": float(characters)} if characters else {}
    if api == "async_invoke":
        made = field(body, "status") == "Completed"
        shown = _video_seconds(field(request, "modelInput")) if made else None
        return {"second": shown} if shown else {}
    if api == "generate_videos":
        return _videos(body, request)
    if api in ("images", "image_generation") or (api == "invoke_model" and field(body, "images") is not None):
        return _images(provider, body, request)
    if api == "videos":
        made = sum(1 for _ in items(body, "video_result")) or int(path(body, "outputs", "video_url") is not None)
        return {"video": float(made)} if made else {}
    if api == "code":
        begun = path(body, "data", "session_id") is not None and field(request, "session_id") is None
        return {"session": 1.0} if begun else {}
    if api == "dubbing":
        dubbed = duration(field(body, "expected_duration_sec"))
        return {"second": dubbed} if dubbed else {}
    pages = number(path(body, "usage_info", "pages_processed"))
    if pages:
        annotated = first(request, "document_annotation_format", "bbox_annotation_format") is not None
        return {"annotated_page" if annotated else "page": pages}
    if api == "text_generation" and provider == "sagemaker":
        return {"request": 1.0} if isinstance(body, dict) and body else {}
    if api == "cachedContents":
        return _kept_tokens(body)
    if api in ("moderations", "search"):
        return {"request": 1.0} if first(body, "results", "search_result") is not None else {}
    if api == "retrieval" and field(body, "retrievalResults") is not None:
        return {"search_unit": 1.0}  # there are never more than a hundred
    if api in ("rerank", "invoke_model") and field(body, "results") is not None:
        documents = _documents(request)
        return {"search_unit": float(-(-documents // _DOCUMENTS_PER_SEARCH))} if documents else {}
    return {}


def _kept_tokens(body: object) -> dict[str, float]:
    """Return the tokens of a cache times the hours that they are kept: Google bills storage by both."""
    tokens = number(path(body, "usageMetadata", "totalTokenCount"))
    made, ends = (_seconds(text(body, name)) for name in ("createTime", "expireTime"))
    if not tokens or made is None or ends is None or ends <= made:
        return {}
    return {"cached_token_hour": tokens * (ends - made) / 3600}


def _seconds(timestamp: str | None) -> float | None:
    """Return a time of RFC 3339 in seconds since the epoch."""
    try:
        return datetime.fromisoformat(timestamp).timestamp() if timestamp is not None else None
    except ValueError:
        return None


def _spoken(request: object) -> int:
    """Return the characters of what a request has spoken, by one voice or by several."""
    parts = (request, *items(request, "inputs"))
    return sum(len(text(part, "input", "text") or "") for part in parts)


def _documents(request: object) -> int:
    """Return how many documents a rerank was asked about; InvokeModel takes its request as JSON text."""
    body = field(request, "body")
    if isinstance(body, (str, bytes, bytearray)):
        try:
            body = json.loads(body)
        except ValueError:
            return 0
    found = first(request, "sources", "documents") or field(body, "documents")
    return len(found) if isinstance(found, (list, tuple)) else 0


def _video_seconds(asked: object) -> float | None:
    """Return the length of the video that was asked for; Nova makes six seconds by default, Luma writes `5s`."""
    config = field(asked, "videoGenerationConfig")
    if config is not None:
        return number(field(config, "durationSeconds")) or 6.0
    said = text(asked, "duration")
    return duration(said.removesuffix("s")) if said is not None else None


def _videos(body: object, request: object) -> dict[str, float]:
    """Return the seconds of Veo's videos, by their resolution and whether they have sound, which is the default.

    Each is as long as was asked for, or eight seconds; those that a filter has taken away are not billed.
    """
    response, asked = field(body, "response"), field(request, "parameters")
    made = (*items(response, "videos"), *items(field(response, "generateVideoResponse"), "generatedSamples"))
    seconds = (number(field(asked, "durationSeconds")) or 8.0) if request is not None else 0.0
    silent = "silent_" if field(asked, "generateAudio") is False else ""
    large = "4k_" if (text(asked, "resolution") or "").lower() == "4k" else ""
    return {f"{silent}{large}second": len(made) * seconds} if made and seconds else {}


_SIDES = (512, 1024, 2048)
"""The sizes that Amazon's models are billed by: an image of any other counts as the next larger one."""


def _amazon_size(config: object) -> str:
    longest = max(number(field(config, side)) or 1024 for side in ("width", "height"))
    side = next((side for side in _SIDES if longest <= side), _SIDES[-1])
    return f"{side}x{side}"


_DEFAULT_STEPS = (("schnell", 4.0), ("flux", 28.0))
"""Steps that the price of a megapixel is for, by what a model's name has in it. https://www.together.ai/pricing"""

_BY_THE_IMAGE = frozenset(("alibaba", "zai", "zhipuai"))
"""Providers whose images cost the same in every size and quality."""


def _images(provider: str, body: object, request: object) -> dict[str, float]:
    """Images that are billed each. Size and quality are in the unit's name unless they are the default."""
    lists = ("data", "images", "generatedImages", "generated_images", "image_result")
    made = sum(1 for name in lists for _ in items(body, name))
    # Imagen's predictions have a place for each image that a filter has taken away.
    made += sum(first(one, "bytesBase64Encoded", "gcsUri") is not None for one in items(body, "predictions"))
    if not made:
        return {}
    if provider == "together":
        return {"megapixel": made * _megapixels(request)}
    if provider in _BY_THE_IMAGE:
        return {"image": float(made)}
    if path(request, "parameters", "mode") == "upscale":
        return {"upscaled_image": float(made)}
    config = field(request, "imageGenerationConfig")
    quality = text(body, "quality") or text(request, "quality") or text(config, "quality") or "standard"
    size = text(body, "size") or text(request, "size") or _amazon_size(config)
    quality = "standard" if quality == "auto" else quality
    size = "1024x1024" if size == "auto" else size
    plain = quality == "standard" and size == "1024x1024"
    return {"image" if plain else bounded(f"image_{quality}_{size}"): float(made)}


def _megapixels(request: object) -> float:
    """Return the megapixels that one of Together's images is billed by: more than the default steps multiply them."""
    width, height = (number(field(request, side)) or 1024.0 for side in ("width", "height"))
    model, steps = (text(request, "model") or "").lower(), number(field(request, "steps")) or 0.0
    usual = next((usual for part, usual in _DEFAULT_STEPS if part in model), steps)
    return width * height / 1e6 * max(1.0, steps / usual if usual else 1.0)
