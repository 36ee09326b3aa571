"""A help desk with retrieval: it drafts replies (`copilot`) and answers questions (`search`) of its tenants.

Nothing here is made for Genledger but the lines that name it: who a call is for, what a block of work is,
what a draft has cost, and that somebody accepted it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import anthropic
import chromadb
import openai
from chromadb.config import Settings

import genledger

from .story import HANDBOOK, Tenant, Ticket

EMBEDDINGS = "text-embedding-3-small"
READER = "gpt-4.1-mini"
WRITER = "claude-haiku-4-5"
ANSWERERS = {"pro": "gpt-5-mini", "basic": "gpt-4.1-mini"}

LOOK_UP = {
    "name": "look_up",
    "description": "Read the record of an order, an invoice or a device.",
    "parameters": {
        "type": "object",
        "properties": {"reference": {"type": "string", "pattern": "[A-Z]-[0-9]+"}},
        "required": ["reference"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A drafted reply, what it cost in USD, in how many calls, and the trace to find them in."""

    text: str
    usd: float
    calls: int
    trace_id: int


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers, None where the provider failed; what they cost in USD, in how many calls."""

    texts: Sequence[str | None]
    usd: float
    calls: int


class HelpDesk:
    """The service. A context manager that closes its synchronous clients."""

    def __init__(self, openai_url: str, anthropic_url: str) -> None:
        self.openai = openai.OpenAI(base_url=openai_url, api_key="demo")
        self.async_openai = openai.AsyncOpenAI(base_url=openai_url, api_key="demo")
        self.anthropic = anthropic.Anthropic(base_url=anthropic_url, api_key="demo")
        database = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
        self.passages = database.create_collection("passages", embedding_function=None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.openai.close()
        self.anthropic.close()

    @genledger.attribution(feature="search")
    def index(self, tenant: Tenant) -> None:
        """Embed and store a tenant's documents."""
        with genledger.attribution(tenant=tenant.name):
            answer = self.openai.embeddings.create(model=EMBEDDINGS, input=list(tenant.passages), dimensions=256)
            vectors: list[Sequence[float]] = [item.embedding for item in answer.data]
            self.passages.add(
                ids=[f"{tenant.name}-{number}" for number in range(len(tenant.passages))],
                embeddings=vectors,
                documents=list(tenant.passages),
                metadatas=[{"tenant": tenant.name}] * len(tenant.passages),
            )

    # copilot: synchronous, two models, one tool

    def copilot(self, tenant: Tenant, ticket: Ticket) -> Draft:
        """Draft a reply, and note whether the agent who reads it sends it."""
        who = genledger.attribution(
            tenant=tenant.name,
            feature="copilot",
            user=f"agent-{tenant.name}",
            session=f"letter-{ticket.number}",
            prompt_name="draft-reply",
            prompt_version=tenant.prompt_version,
            metadata={"plan": tenant.plan},
        )
        with who, genledger.observe("draft_reply", kind="workflow") as work:
            text = self.draft_reply(tenant, ticket)
            if ticket.accepted:
                genledger.record_outcome("draft_accepted")
        spent = work.spend()
        return Draft(text, spent.usd, spent.calls, work.span.get_span_context().trace_id)

    def draft_reply(self, tenant: Tenant, ticket: Ticket) -> str:
        passages = self.retrieve(tenant, ticket.text)
        summary = self.summarise(tenant, ticket)
        letter = f"Answer letter {ticket.number}: {ticket.text}\n\nSummary: {summary}\n\n{passages}"
        with self.anthropic.messages.stream(
            model=WRITER,
            max_tokens=400,
            system=[{"type": "text", "text": instructions(tenant), "cache_control": {"type": "ephemeral"}}],
            messages=[{"role": "user", "content": letter}],
        ) as stream:
            return "".join(stream.text_stream)

    @genledger.observe(kind="retrieval")
    def retrieve(self, tenant: Tenant, text: str) -> str:
        embedding = self.openai.embeddings.create(model=EMBEDDINGS, input=text, dimensions=256).data[0].embedding
        return self.nearest(tenant, embedding)

    def nearest(self, tenant: Tenant, embedding: Sequence[float]) -> str:
        found = self.passages.query(query_embeddings=[embedding], n_results=2, where={"tenant": tenant.name})
        return "\n\n".join((found["documents"] or [[]])[0])

    def summarise(self, tenant: Tenant, ticket: Ticket) -> str:
        """Have the letter read, with the record at hand if it names one."""
        messages: list[Any] = [
            {"role": "system", "content": instructions(tenant)},
            {"role": "user", "content": f"Summarise letter {ticket.number}: {ticket.text}"},
        ]
        tools: Any = [{"type": "function", "function": LOOK_UP}] if ticket.reference else openai.omit
        while True:
            answer = self.openai.chat.completions.create(model=READER, messages=messages, tools=tools)
            message = answer.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            messages.append(message)
            for call in message.tool_calls:
                if call.type == "function":
                    record = self.look_up(ticket, **json.loads(call.function.arguments))
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": record})

    @genledger.observe(kind="tool")
    def look_up(self, ticket: Ticket, reference: str) -> str:
        return ticket.record if ticket.record and reference == ticket.reference else "No such record."

    # search: asynchronous, streamed

    async def search(self, tenant: Tenant, questions: Iterable[str]) -> Answers:
        """Answer a tenant's questions, one after the other."""
        texts: list[str | None] = []
        with genledger.attribution(tenant=tenant.name, feature="search", user=f"visitor-{tenant.name}"):
            for question in questions:
                try:
                    texts.append(await self.answer(tenant, question))
                except openai.InternalServerError:
                    texts.append(None)
            spent = genledger.spend()
        return Answers(texts, spent.usd, spent.calls)

    @genledger.observe(kind="workflow")
    async def answer(self, tenant: Tenant, question: str) -> str:
        found = await self.async_openai.embeddings.create(model=EMBEDDINGS, input=question, dimensions=256)
        passages = await asyncio.to_thread(self.nearest, tenant, found.data[0].embedding)
        model = ANSWERERS[tenant.plan]
        prompt = f"Question: {question}\n\n{passages}"
        words = []
        if model.startswith("gpt-5"):
            async with self.async_openai.responses.stream(
                model=model, instructions=instructions(tenant), input=prompt
            ) as stream:
                async for event in stream:
                    if event.type == "response.output_text.delta":
                        words.append(event.delta)
            return "".join(words)
        chunks = await self.async_openai.chat.completions.create(
            model=model,
            messages=[
                {"role": "system", "content": instructions(tenant)},
                {"role": "user", "content": prompt},
            ],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            words += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(words)


def instructions(tenant: Tenant) -> str:
    """The system prompt; it begins with the tenant, so that no two tenants share a cached prefix."""
    return f"You write for the customers of {tenant.name}.\n\n{HANDBOOK}"
