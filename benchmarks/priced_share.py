"""How much of recorded provider traffic is priced, and why the rest is not.

    python benchmarks/priced_share.py [DIRECTORY]

Reads recordings of HTTP traffic (one JSON file per exchange, an INDEX.json beside them), takes every successful
answer that reports usage, whole or streamed, and prices it as of today. Prints the share by provider, of all, and of
those whose provider publishes a price list, then each unpriced answer with its reason. Left out are answers to
requests of which the recording has lost the model, or has a host that is not the real one.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from genledger.pricing import Cost, Reading, price, read_usage

PROVIDERS = {
    "azure_openai": "azure",
    "google_genai": "google",
    "bedrock_mantle": "bedrock",
    "xai": "x_ai",
    "github_copilot": "github_copilot",
    "openai_compat_local": "local",
}
"""Names of the recordings' directories that are not names of providers."""

UNLISTED = {
    # models on machines of one's own, and gateways to others' models
    *("llamacpp", "ollama", "local", "gpustack", "mistralrs", "litellm_proxy", "mirascope_router"),
    # subscriptions, and credits by contract
    *("chatgpt_codex", "ollama_cloud", "snowflake"),
}
"""Providers without a public price list for each call."""

MADE_ELSEWHERE = ("Qwen/", "moonshotai/", "muse-")
"""What the names of models begin with that OpenAI does not serve: their recordings lack the host."""

APIS = {
    "streamGenerateContent": "generateContent",
    "batchEmbedContents": "embedContent",
    "converse_stream": "converse",
    "invoke_model_stream": "invoke_model",
    "audio_transcriptions": "transcriptions",
    "audio_translations": "transcriptions",
    "audio_speech": "speech",
    "complete": "completions",
    "generate": "completions",
}

INFERENCE = {
    *("chat", "responses", "completions", "messages", "generateContent", "embedContent", "converse"),
    *("invoke_model", "embeddings", "embed", "rerank", "images", "speech", "transcriptions", "moderations"),
    "interactions",
}


@dataclass(frozen=True)
class Answer:
    """One successful recorded answer."""

    file: str
    provider: str
    api: str
    body: Any
    request: Any
    base_url: str
    headers: dict[str, str]


def answers(directory: Path) -> Iterator[Answer]:
    """Every successful inference in the recordings, streams put together."""
    for entry in json.loads((directory / "INDEX.json").read_text(encoding="utf-8")):
        api = APIS.get(entry["operation"], entry["operation"])
        if entry["status"] != 200 or api not in INFERENCE:
            continue
        record = json.loads((directory / entry["file"]).read_text(encoding="utf-8"))
        url = record["request"]["url"]
        sent = record["request"]["body"]
        request = {**_model_in(url), **(sent if isinstance(sent, dict) else _form(sent))}
        if api == "images" and entry["provider"] == "openai":
            request.setdefault("model", "dall-e-2")  # the endpoint's documented default
        response = record["response"]
        body = response.get("body")
        if not isinstance(body, dict):
            body = _assembled(body, response.get("body_base64"))
        provider = PROVIDERS.get(entry["provider"], entry["provider"])
        yield Answer(entry["file"], provider, api, body, request, url, response.get("headers") or {})


def _model_in(url: str) -> dict[str, str]:
    """The model that Bedrock, Gemini and Azure name in the path, and Deepgram in the query."""
    asked = dict(parse_qsl(urlsplit(url).query))
    if "model" in asked:
        return {"model": asked["model"]}
    parts = [unquote(part) for part in urlsplit(url).path.split("/")]
    for marker in ("model", "models", "deployments"):
        if marker in parts[:-1]:
            name = parts[parts.index(marker) + 1]
            return {"model": name.rsplit(":", 1)[0] if marker == "models" else name}
    return {}


def _form(sent: Any) -> dict[str, str]:
    """The model in a multipart form."""
    found = re.search(r'name="model"\s+([^\s"]+)', sent) if isinstance(sent, str) else None
    return {"model": found.group(1)} if found else {}


def _assembled(body: Any, encoded: str | None) -> dict[str, Any]:
    """One answer out of a stream: the last usage, the model, and what tool use and search left behind."""
    if encoded is not None:
        events = list(_event_stream(base64.b64decode(encoded)))
    elif isinstance(body, str):
        events = list(_lines(body))
    elif isinstance(body, list):
        events = body
    else:
        events = []
    answer: dict[str, Any] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        inner = event.get("response") or event.get("message") or event.get("interaction")
        for part in (inner if isinstance(inner, dict) else {}, event, event.get("metadata") or {}):
            if not isinstance(part, dict):
                continue
            for key in ("usage", "usageMetadata", "meta", "copilot_usage"):
                if isinstance(part.get(key), dict):
                    answer[key] = {**answer.get(key, {}), **{k: v for k, v in part[key].items() if v is not None}}
            for key, value in part.items():
                if key in ("model", "modelVersion", "service_tier", "output", "tools", "tool_usage", "candidates"):
                    answer[key] = value or answer.get(key)
                elif key in ("prompt_eval_count", "eval_count", "amazon-bedrock-invocationMetrics", "x_groq"):
                    answer[key] = value
        delta = event.get("delta")
        if isinstance(delta, dict) and isinstance(delta.get("usage"), dict):
            answer["usage"] = {**answer.get("usage", {}), **delta["usage"]}
    if "usage" not in answer and isinstance(answer.get("x_groq"), dict):
        answer["usage"] = answer["x_groq"].get("usage")
    return answer


def _lines(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        line = line.removeprefix("data:").strip()
        if line.startswith(("{", "[")):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            yield from event if isinstance(event, list) else [event]
    if text.lstrip().startswith("["):
        try:
            yield from json.loads(text)
        except ValueError:
            return


def _event_stream(data: bytes) -> Iterator[Any]:
    """The JSON payloads of an `application/vnd.amazon.eventstream` body."""
    while len(data) >= 16:
        total = int.from_bytes(data[:4], "big")
        headers = int.from_bytes(data[4:8], "big")
        payload = data[12 + headers : total - 4]
        data = data[total:]
        if total < 16:
            return
        try:
            event = json.loads(payload)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("bytes"), str):
            event = json.loads(base64.b64decode(event["bytes"]))
        yield event


def priced(answer: Answer) -> tuple[Reading | None, Cost | str]:
    """What the answer reports, and its cost or why there is none."""
    reading = read_usage(
        answer.provider,
        answer.api,
        answer.body,
        answer.request,
        base_url=answer.base_url,
        headers=answer.headers,
    )
    if reading is None:
        return None, "no_usage"
    return reading, price(
        reading.usage,
        provider=answer.provider,
        model=reading.model,
        tier=reading.tier,
        region=reading.region,
        base_url=answer.base_url,
        reported=reading.reported,
        notes=reading.notes,
        requested=reading.requested,
        context=reading.context,
        also=reading.also,
    )


def is_incomplete(answer: Answer, reading: Reading) -> bool:
    """Whether a recording has lost which model was asked, or where."""
    model = reading.model
    return model is None or (answer.provider == "openai" and model.startswith(MADE_ELSEWHERE))


def main(directory: Path) -> None:
    totals: Counter[str] = Counter()
    good: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    unpriced: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for answer in answers(directory):
        reading, cost = priced(answer)
        if reading is None or cost == "no_usage":
            silent[f"{answer.provider} {answer.api}"] += 1
            continue
        if is_incomplete(answer, reading):
            lost[answer.provider] += 1
            continue
        totals[answer.provider] += 1
        if isinstance(cost, str):
            unpriced[answer.provider, str(reading.model), cost] += 1
        else:
            good[answer.provider] += 1
    for provider, total in totals.most_common():
        print(f"{provider:20} {good[provider]:5} of {total:5}  {good[provider] / total:6.1%}")
    listed = [provider for provider in totals if provider not in UNLISTED]
    for name, providers in (("all", list(totals)), ("with a public list", listed)):
        some, every = (sum(counts[provider] for provider in providers) for counts in (good, totals))
        print(f"{name:20} {some:5} of {every:5}  {some / every:6.1%}")
    print("\nnot priced:")
    for (provider, model, reason), count in sorted(unpriced.items()):
        print(f"  {count:3}  {provider:18} {model:60} {reason}")
    print("\nleft out:", ", ".join(f"{name} {count}" for name, count in lost.most_common()))
    print("\nsuccessful, but without usage:", ", ".join(f"{name} {count}" for name, count in silent.most_common()))


if __name__ == "__main__":
    places = [folder / "shared" / "data" / "recordings" for folder in Path(__file__).resolve().parents[2:]]
    here = next((place for place in places if place.is_dir()), places[0])
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
