"""IBM's client of watsonx.ai: chats in OpenAI's format, over an HTTP client class and retry loops of its own."""

from __future__ import annotations

import base64
import json
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, USAGE, chunks, whole
from tests.contract.server import Reply, Request, Server, json_reply

MODEL = "ibm/granite-3-8b-instruct"
PRICES = str(Path(__file__).with_name("watsonx_prices.toml"))
CLAIMS = base64.urlsafe_b64encode(json.dumps({"iat": 1790000000, "exp": 4102444800}).encode()).decode()
PLATFORM = {
    "access_token": f"head.{CLAIMS}.tail",
    "expires_in": 3600,
    "resources": [],
    "entity": {"storage": {"type": "bmcos_object_storage"}, "type": "wx"},
}
"""What the platform's other endpoints answer, as far as the client reads it."""


@lru_cache(maxsize=1)
def tls() -> Any:
    """A context with a certificate of its own: the client refuses other addresses."""
    import ssl

    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


class Platform(Server):
    """The provider, with the platform around it: what signs in, and describes projects."""

    def __init__(self) -> None:
        super().__init__()
        self._http.socket = tls().wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return super().url.replace("http:", "https:")

    def aside(self, request: Request) -> Reply | None:
        """Return the answer of the platform."""
        return None if "/text/" in request.path or "/gateway/" in request.path else json_reply(PLATFORM)


def platform_client(url: str, retries: int) -> Any:
    """Make the client of the platform, with so many retries of its transport."""
    from ibm_watsonx_ai import APIClient, Credentials

    credentials = Credentials(url=url, platform_url=url, auth_url=url, api_key="k", verify=False)
    with warnings.catch_warnings(action="ignore"):
        client = APIClient(credentials)
    for http in (client.httpx_client, client.async_httpx_client):
        http._transport.retries, http._transport.backoff_factor = retries, 0.001
    return client


def model(url: str, retries: int) -> Any:
    """Make the client of a model."""
    from ibm_watsonx_ai.foundation_models import ModelInference

    with warnings.catch_warnings(action="ignore"):
        return ModelInference(
            model_id=MODEL,
            api_client=platform_client(url, retries),
            project_id="p",
            validate=False,
            max_retries=retries,
            delay_time=0.001,
            retry_status_codes=[429, 500],
        )


class Chats:
    """The methods of a model under the same names for both ways."""

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        client = model(url, retries)
        self.whole = client.achat if asynchronous else client.chat
        self.stream = client.achat_stream if asynchronous else client.chat_stream


def ask(client: Chats, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    params = None if max_tokens is None else {"max_tokens": max_tokens}
    messages = [{"role": "user", "content": PROMPT}]
    return (client.stream if stream else client.whole)(messages=messages, params=params)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"errors": [{"code": "invalid", "message": f"No: {PROMPT}"}], "status_code": status}, status)


def events(*answers: dict[str, Any]) -> tuple[bytes, ...]:
    """The events of a stream, with the names that the provider gives them."""
    return tuple(
        f"id: {place}\nevent: message\ndata: {json.dumps(answer)}\n\n".encode() for place, answer in enumerate(answers)
    )


def spoken() -> tuple[bytes, ...]:
    """The chunks of a chat, without OpenAI's mark of its end."""
    found = [json.loads(chunk.removeprefix(b"data: ")) for chunk in chunks(MODEL, usage=USAGE)[:-1]]
    return events(*({**chunk, "model_id": MODEL} for chunk in found))


ROW = Row(
    library="ibm-watsonx-ai",
    module="ibm_watsonx_ai",
    client=Chats,
    call=ask,
    whole=whole(MODEL, model_id=MODEL),
    events=spoken(),
    provider="ibm.watsonx.ai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.2e-6 + 500 * 0.6e-6,
    error=error,
    sent_model=lambda request: request.json.get("model_id"),
    cheaper="ibm/granite-3-2b-instruct",
    options={"prices": PRICES},
    server=Platform,
)
