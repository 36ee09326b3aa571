"""Databricks' client: an endpoint stands for a model, and speaks OpenAI's chat format; only whole answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, whole
from tests.contract.server import Reply, Request, Server, json_reply

MODEL, SERVED = "support-chat", "meta-llama-3.3-70b-instruct-121024"
PRICES = str(Path(__file__).with_name("databricks_prices.toml"))


class Workspace(Server):
    """The serving endpoints, with the workspace around them."""

    def aside(self, request: Request) -> Reply | None:
        """Return the answer of the workspace."""
        return None if request.path.endswith("/invocations") else json_reply({})


class Clock:
    """A clock that lets a client make so many attempts more, without a pause."""

    def __init__(self, retries: int) -> None:
        self.retries = retries

    def time(self) -> float:
        """Seconds: after the last attempt it is too late for another."""
        return 0.0 if self.retries >= 0 else 1e9

    def sleep(self, seconds: float) -> None:
        """Count a pause."""
        self.retries -= 1


def workspace_client(url: str, retries: int, **options: Any) -> Any:
    """Make the client of a workspace."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    given = options or {"token": "t"}
    return WorkspaceClient(config=Config(host=url, http_timeout_seconds=20, clock=Clock(retries), **given))


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    return workspace_client(url, retries).serving_endpoints


def messages() -> Any:
    """The prompt, in the client's own types."""
    from databricks.sdk.service.serving import ChatMessage, ChatMessageRole

    return [ChatMessage(role=ChatMessageRole.USER, content=PROMPT)]


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    return client.query(MODEL, messages=messages(), max_tokens=max_tokens)


def error(status: int) -> Reply:
    """An error answer; only some messages are sent again."""
    again = "Unexpected error: " if status == 500 else ""
    return json_reply({"error_code": "NO", "message": f"{again}No: {PROMPT}"}, status)


ROW = Row(
    library="databricks-sdk",
    module="databricks.sdk",
    client=make,
    call=ask,
    whole=whole(SERVED),
    events=(),
    provider="databricks",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.5e-6 + 500 * 1.5e-6,
    error=error,
    sent_model=lambda request: request.path.split("/")[2],
    cheaper="support-chat-small",
    asynchronous=False,
    streams=False,
    options={"prices": PRICES},
    server=Workspace,
)
