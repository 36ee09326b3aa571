"""Oracle's client: its own format, and a model that is billed by tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, json_reply, sse

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
MODEL = "xai.grok-4"
USAGE = {"promptTokens": 1000, "completionTokens": 500, "totalTokens": 1500}
PRICES = str(Path(__file__).with_name("oci_prices.toml"))


@lru_cache
def config() -> dict[str, str]:
    """Return the configuration of a user with a key made for it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return {
        "user": "ocid1.user.oc1..made",
        "tenancy": "ocid1.tenancy.oc1..up",
        "fingerprint": "20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34",
        "key_content": key.private_bytes(*form).decode(),
        "region": "us-chicago-1",
    }


class Events:
    """A stream of the client's: it gives the events by a method, and is closed by another."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._events = stream.events()

    def __iter__(self) -> Any:
        return ((event.event, event.data) for event in self._events)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


class Client:
    """The chat of the real client, of either kind."""

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        import oci
        from oci import generative_ai_inference as inference

        again = oci.retry.RetryStrategyBuilder().add_max_attempts(retries + 1)
        given = {
            "service_endpoint": url,
            "timeout": 20,
            "retry_strategy": again.get_retry_strategy() if retries else oci.retry.NoneRetryStrategy(),
            "circuit_breaker_strategy": oci.circuit_breaker.NoCircuitBreakerStrategy(),
        }
        if retries:
            given["retry_strategy"].do_sleep = lambda attempt, error: None
        kind = inference.AsyncGenerativeAiInferenceClient if asynchronous else inference.GenerativeAiInferenceClient
        self.client = kind(config(), **given)


def send(client: Client, *, stream: bool, max_tokens: int | None = None, model: str = MODEL) -> Any:
    """Make the call; gives the response."""
    from oci.generative_ai_inference import models

    asked = models.GenericChatRequest(
        messages=[models.UserMessage(content=[models.TextContent(text=PROMPT)])], max_tokens=max_tokens
    )
    if stream:
        asked.is_stream = True
        asked.stream_options = models.StreamOptions(is_include_usage=True)
    mode = models.OnDemandServingMode(model_id=model)
    details = models.ChatDetails(compartment_id="c", serving_mode=mode, chat_request=asked)
    return client.client.chat(details, opc_request_id="r")


@contextmanager
def without_time() -> Iterator[None]:
    """Take the time out of the client's error, to compare it."""
    import oci

    try:
        yield
    except oci.exceptions.ServiceError as error:
        error.args[0].pop("timestamp")
        raise


def ask(client: Client, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    import oci

    with without_time():
        found = send(client, stream=stream, max_tokens=max_tokens)
    return Events(found.data) if stream else oci.util.to_dict(found.data)


async def ask_async(client: Client, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    import oci

    with without_time():
        found = await send(client, stream=stream, max_tokens=max_tokens)
    return oci.util.to_dict(found.data)


def whole(model: str = MODEL, **more: Any) -> Reply:
    """A whole answer."""
    message = {"role": "ASSISTANT", "content": [{"type": "TEXT", "text": TEXT}]}
    choice = {"index": 0, "message": message, "finishReason": "stop"}
    answer = {"apiFormat": "GENERIC", "timeCreated": "2026-11-29T00:00:00Z", "choices": [choice], "usage": USAGE}
    return json_reply({"modelId": model, "modelVersion": "1", "chatResponse": {**answer, **more}})


def events() -> tuple[bytes, ...]:
    """The events of a streamed answer; the usage comes after its end."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    pieces = [{"role": "ASSISTANT", "content": [{"type": "TEXT", "text": word}]} for word in words]
    return sse(
        *({"index": 0, "message": message} for message in pieces),
        {"finishReason": "stop", "message": {"role": "ASSISTANT"}, "index": 0},
        {"usage": USAGE},
    )


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"code": "TooManyRequests" if status == 429 else "Wrong", "message": f"No: {PROMPT}"}, status)


def asked(request: Any) -> Any:
    """Return the chat in a request as the server got it."""
    return request.json["chatRequest"]


ROW = Row(
    library="oci",
    module="oci.generative_ai_inference",
    client=Client,
    call=ask,
    whole=whole(),
    events=events(),
    provider="oci",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 3e-6 + 500 * 15e-6,
    error=error,
    limit=lambda request: asked(request).get("maxTokens"),
    sent_model=lambda request: request.json["servingMode"]["modelId"],
    cheaper="xai.grok-3-mini",
    asynchronous=False,
    options={"prices": PRICES},
)
