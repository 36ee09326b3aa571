"""Bedrock's Converse and ConverseStream, by aiobotocore: botocore's classes with coroutines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.rows import bedrock_converse
from tests.contract.rows.bedrock_converse import request


class Client:
    """A client that is opened by the first call: it can only be made in a coroutine."""

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        self._opening = get_session().create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=url,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            config=AioConfig(retries={"total_max_attempts": retries + 1, "mode": "standard"}, read_timeout=20),
        )
        self._client: Any = None

    async def opened(self) -> Any:
        """The client itself."""
        if self._client is None:
            self._client = await self._opening.__aenter__()
        return self._client


async def ask(client: Client, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call, as the row of boto3 does."""
    made = await client.opened()
    if stream:
        return (await made.converse_stream(**request(max_tokens)))["stream"]
    answer = await made.converse(**request(max_tokens))
    answer["ResponseMetadata"]["HTTPHeaders"].pop("date")
    return answer


ROW = replace(
    bedrock_converse.ROW,
    module="aiobotocore.client",
    client=Client,
    call=ask,
    synchronous=False,
    asynchronous=True,
)
