"""Answers that are not what they should be: the application gets what it would have got, whatever that is."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..replay.observation import difference, drained, seen
from ..replay.transport import Reply, cut
from . import anthropic_format, openai_format
from .provider import EVENTS, JSON, Provider, Within, items, now
from .telemetry import instrumented

ASK: dict[str, dict[str, Any]] = {
    "chat": {"model": "gpt-4o", "messages": openai_format.USER},
    "responses": {"model": "gpt-4o", "input": "Hello"},
    "embeddings": {"model": "text-embedding-3-small", "input": "a", "encoding_format": "float"},
    "images": {"model": "gpt-image-1", "prompt": "a"},
    "moderations": {"model": "omni-moderation-latest", "input": "a"},
    "messages": anthropic_format.ASK,
}
WHOLE: dict[str, dict[str, Any]] = {
    "chat": openai_format.chat(openai_format.message(tool_calls=[openai_format.tool_call()])),
    "responses": openai_format.response(),
    "embeddings": openai_format.embeddings(),
    "images": openai_format.images(),
    "moderations": {"id": "m", "model": "omni-moderation-latest", "results": [{"flagged": False}]},
    "messages": anthropic_format.message(anthropic_format.text(), anthropic_format.tool_use()),
}
STREAMED: dict[str, list[dict[str, Any]]] = {
    "chat": openai_format.chat_chunks(),
    "responses": openai_format.response_events(),
    "messages": anthropic_format.message_events(),
}

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 2**63, 10**40, 0.5, -0.0, 1e308, "", "NaN", "\ud7ff", [], {}, [[]], [None], {"": None}]),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.lists(st.none() | st.integers() | st.text(max_size=4), max_size=3),
    st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4), max_size=3),
)


@st.composite
def mangled(draw: st.DrawFn, whole: Any) -> Any:
    """`whole` with up to four values anywhere in it removed, replaced by something odd, or added."""
    result = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = result
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 3)):
                place = inner
                continue
            change = draw(st.sampled_from(["remove", "replace", "replace", "add"]))
            if change == "remove":
                del place[key]
            elif change == "replace":
                place[key] = copy.deepcopy(draw(ODD))
            elif isinstance(place, dict):
                place[draw(st.text(max_size=6))] = copy.deepcopy(draw(ODD))
            else:
                place.append(copy.deepcopy(draw(ODD)))
            break
    return result


@st.composite
def bodies(draw: st.DrawFn, api: str) -> Reply:
    """A JSON answer that is mangled, cut short, or no JSON at all."""
    payload = json.dumps(draw(mangled(WHOLE[api]))).encode()
    kind = draw(st.sampled_from(["json"] * 4 + ["cut", "noise", "text"]))
    if kind == "cut":
        payload = payload[: draw(st.integers(0, len(payload)))]
    elif kind == "noise":
        payload = draw(st.binary(max_size=40))
    headers = {"content-type": "text/plain"} if kind == "text" else JSON
    status = draw(st.sampled_from([200] * 6 + [201, 400, 429, 500]))
    return Reply(status, headers, cut(payload, "m", 3))


@st.composite
def streams(draw: st.DrawFn, api: str) -> Reply:
    """Server-sent events, some of them mangled, doubled, dropped, unknown or no JSON; cut anywhere."""
    lines: list[bytes] = []
    for event in STREAMED[api]:
        kind = draw(st.sampled_from(["whole"] * 6 + ["mangled", "mangled", "twice", "dropped", "unknown", "noise"]))
        if kind == "dropped":
            continue
        if kind == "mangled":
            event = draw(mangled(event))
        if kind == "unknown":
            event = {"type": draw(st.text(max_size=8)), "object": "surprise", "delta": draw(ODD)}
        name = event.get("type", "") if isinstance(event, dict) else ""
        data = draw(st.binary(max_size=12)) if kind == "noise" else json.dumps(event).encode()
        text = b"event: " + str(name).encode("utf-8", "replace") + b"\n" if name else b""
        lines += [text + b"data: " + data + b"\n\n"] * (2 if kind == "twice" else 1)
    payload = b"".join(lines) + draw(st.sampled_from([b"data: [DONE]\n\n", b"", b"data: {"]))
    payload = payload[: draw(st.just(len(payload)) | st.integers(0, len(payload)))]
    return Reply(200, EVENTS, cut(payload, "s", 9))


METHODS = {
    "chat": ("openai", "chat.completions"),
    "responses": ("openai", "responses"),
    "embeddings": ("openai", "embeddings"),
    "images": ("openai", "images"),
    "moderations": ("openai", "moderations"),
    "messages": ("anthropic", "messages"),
}


def method(provider: Provider, api: str, way: str = "") -> Any:
    sdk, path = METHODS[api]
    resource = provider.client(sdk)
    for name in (*path.split("."), *filter(None, [way])):
        resource = getattr(resource, name)
    return resource.generate if api == "images" else resource.create


async def got(provider: Provider, api: str, way: str, stream: bool) -> Any:
    """What the application gets, exceptions included."""
    kwargs = ASK[api] | ({"stream": True} if stream else {})
    try:
        if way == "with_streaming_response":
            async with Within(method(provider, api, way)(**kwargs)) as response:
                return seen(b"".join(await items(response.iter_bytes())))
        result = await now(method(provider, api, way)(**kwargs))
        if way:
            result = await now(result.parse())
        if not stream:
            return await drained(result)
        found: list[Any] = []
        try:
            await items(result, into=found)
        except Exception as error:
            return [seen(item) for item in found], seen(error)
        return [seen(item) for item in found], None
    except Exception as error:
        return seen(error)


def unchanged(api: str, reply: Reply, *, stream: bool) -> None:
    """With and without Genledger the application gets the same; Genledger has no fault of its own."""

    async def compare() -> None:
        for asynchronous in (False, True):
            provider = Provider(asynchronous=asynchronous)
            provider.will(reply)
            ways = ("", "with_raw_response", "with_streaming_response")
            bare = [await got(provider, api, way, stream) for way in ways]
            with instrumented(capture_content="both") as telemetry:
                watched = [await got(provider, api, way, stream) for way in ways]
                for one, other in zip(watched, bare, strict=True):
                    assert difference(one, other) is None
                assert not telemetry.complaints.other
                assert not telemetry.open.spans
                assert len(telemetry.spans) == 3
                for span in telemetry.spans:
                    counts = {k: v for k, v in (span.attributes or {}).items() if k.startswith("gen_ai.usage.")}
                    assert all(isinstance(count, int) and count >= 0 for count in counts.values()), counts

    asyncio.run(compare())


few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("api", WHOLE)
@few
@given(data=st.data())
def test_mangled_answers(api: str, data: st.DataObject) -> None:
    unchanged(api, data.draw(bodies(api)), stream=False)


@pytest.mark.parametrize("api", STREAMED)
@few
@given(data=st.data())
def test_mangled_streams(api: str, data: st.DataObject) -> None:
    unchanged(api, data.draw(streams(api)), stream=True)


@pytest.mark.parametrize("api", WHOLE)
@few
@given(data=st.data())
def test_mangled_requests(api: str, data: st.DataObject) -> None:
    kwargs = data.draw(mangled(ASK[api]))
    provider = Provider(asynchronous=False)
    provider.will(Reply(200, JSON, [json.dumps(WHOLE[api]).encode()]))

    def call() -> Any:
        try:
            return seen(method(provider, api)(**copy.deepcopy(kwargs)))
        except Exception as error:
            return seen(error)

    bare = call()
    with instrumented(capture_content="both") as telemetry:
        assert difference(call(), bare) is None
        assert not telemetry.complaints.other
        assert len(telemetry.spans) <= 1
