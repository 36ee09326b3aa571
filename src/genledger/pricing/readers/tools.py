"""Usage of an answer other than tokens: tool calls, sessions, images, seconds, characters."""

from __future__ import annotations

import json
import re
from typing import Any

from genledger.pricing.getters import Counts, duration, field, first, items, number, path, text
from genledger.pricing.readers import shapes
from genledger.pricing.usage import Usage
from genledger.shared.text import bounded

_PER_PROMPT = re.compile(r"gemini-(live-)?[12]\.\d")
_SEARCH_MODEL = re.compile(r"-search-(preview|api)")
_DOCUMENTS_PER_SEARCH = 100
_LEAST_SECONDS = {"groq": 10.0}
"""Groq bills at least ten seconds per transcription (Groq: speech to text)."""

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
        units.update(_grounding(body, model or ""))
    return {unit: calls for unit, calls in units.items() if calls} if units else units


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


def _grounding(body: object, model: str) -> dict[str, float]:
    """Gemini 3 bills each search query; Gemini 2 bills a grounded prompt once for all its queries."""
    queries = maps = 0
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


def units_of(provider: str, api: str, body: object, request: object) -> dict[str, float]:
    """Return the units of answers that have no token counts at all."""
    if api in ("transcriptions", "audio_transcriptions", "translations"):
        seconds = duration(field(body, "duration"))
        return {"second": max(seconds, _LEAST_SECONDS.get(provider, 0.0))} if seconds else {}
    if api in ("speech", "audio_speech"):
        spoken = text(request, "input", "text")
        return {"character": float(len(spoken))} if spoken else {}
    if api in ("images", "image_generation") or (api == "invoke_model" and field(body, "images") is not None):
        return _images(body, request)
    pages = number(path(body, "usage_info", "pages_processed"))
    if pages:
        annotated = first(request, "document_annotation_format", "bbox_annotation_format") is not None
        return {"annotated_page" if annotated else "page": pages}
    if api in ("moderations", "search"):
        return {"request": 1.0} if first(body, "results", "search_result") is not None else {}
    if api in ("rerank", "invoke_model") and field(body, "results") is not None:
        documents = _documents(request)
        return {"search_unit": float(-(-documents // _DOCUMENTS_PER_SEARCH))} if documents else {}
    return {}


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


def _images(body: object, request: object) -> dict[str, float]:
    """Images that are billed each. Size and quality are in the unit's name unless they are the default."""
    lists = ("data", "images", "generatedImages", "generated_images", "predictions")
    made = sum(1 for name in lists for _ in items(body, name))
    if not made:
        return {}
    quality = text(body, "quality") or text(request, "quality") or "standard"
    size = text(body, "size") or text(request, "size") or "1024x1024"
    quality = "standard" if quality == "auto" else quality
    size = "1024x1024" if size == "auto" else size
    plain = quality == "standard" and size == "1024x1024"
    return {"image" if plain else bounded(f"image_{quality}_{size}"): float(made)}
