"""The same task for four providers: what does a summary cost at each, how long does it take, how often does it fail?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import anthropic
import boto3
import openai
from botocore.config import Config
from google import genai
from google.genai import types

import genledger

from .story import Tenant

FEATURE = "compare"


class Comparison:
    """The four clients, and the model that each is asked for. A context manager that closes them."""

    def __init__(self, openai_url: str, provider_url: str) -> None:
        self.openai = openai.OpenAI(base_url=openai_url, api_key="demo")
        self.anthropic = anthropic.Anthropic(base_url=provider_url, api_key="demo")
        self.gemini = genai.Client(api_key="demo", http_options=types.HttpOptions(base_url=provider_url))
        self.bedrock: Any = boto3.client(
            "bedrock-runtime",
            region_name="us-east-1",
            endpoint_url=provider_url,
            aws_access_key_id="demo",
            aws_secret_access_key="demo",
            config=Config(retries={"mode": "standard", "total_max_attempts": 2}),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.openai.close()
        self.anthropic.close()
        self.bedrock.close()

    def run(self, tenants: Sequence[Tenant]) -> tuple[int, int]:
        """Have each letter summarized by each provider; returns how many summaries were made, and how many failed."""
        ways = (self.by_openai, self.by_anthropic, self.by_gemini, self.by_bedrock)
        tasks = [(way, tenant, ticket.text) for way in ways for tenant in tenants for ticket in tenant.tickets]
        failed = sum(not self.made(way, tenant, text) for way, tenant, text in tasks)
        return len(tasks) - failed, failed

    def made(self, way: Callable[[str], str], tenant: Tenant, text: str) -> bool:
        """Make one summary; a provider that fails is passed over."""
        with genledger.attribution(feature=FEATURE, tenant=tenant.name):
            try:
                way(f"Compare: {text}")
            except Exception:
                return False
        return True

    def by_openai(self, prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = self.openai.chat.completions.create(model="gpt-4.1-mini", messages=messages)
        return answer.choices[0].message.content or ""

    def by_anthropic(self, prompt: str) -> str:
        messages: Any = [{"role": "user", "content": prompt}]
        answer = self.anthropic.messages.create(model="claude-haiku-4-5", max_tokens=200, messages=messages)
        return "".join(block.text for block in answer.content if block.type == "text")

    def by_gemini(self, prompt: str) -> str:
        answer = self.gemini.models.generate_content(model="gemini-2.5-flash", contents=prompt)
        return answer.text or ""

    def by_bedrock(self, prompt: str) -> str:
        messages = [{"role": "user", "content": [{"text": prompt}]}]
        answer = self.bedrock.converse(modelId="amazon.nova-lite-v1:0", messages=messages)
        return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])
