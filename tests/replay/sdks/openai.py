"""OpenAI's library, which sends the requests of every provider that speaks OpenAI's formats."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import openai

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /chat/completions                                    chat.completions.create  generates
POST   /completions                                         completions.create    generates
POST   /responses                                           responses.create      generates
POST   /responses/compact                                   responses.compact     generates
POST   /responses/input_tokens                              responses.input_tokens.count
GET    /responses/{response_id}/input_items                 responses.input_items.list
GET    /responses/{response_id}                             responses.retrieve    unbilled
POST   /embeddings                                          embeddings.create     billed
POST   /moderations                                         moderations.create    billed
POST   /images/generations                                  images.generate       billed
POST   /images/edits                                        images.edit           billed
POST   /images/variations                                   images.create_variation
POST   /audio/speech                                        audio.speech.create   billed
POST   /audio/transcriptions                                audio.transcriptions.create  billed
POST   /audio/translations                                  audio.translations.create  billed
GET    /batches                                             batches.list          unbilled
POST   /batches                                             batches.create
POST   /batches/{batch_id}/cancel                           batches.cancel        unbilled
POST   /files                                               files.create
GET    /files/{file_id}/content                             files.content
GET    /models                                              models.list
GET    /models/{model}                                      models.retrieve
DELETE /models/{model}                                      models.delete
POST   /assistants                                          beta.assistants.create
GET    /assistants/{assistant_id}                           beta.assistants.retrieve
POST   /threads                                             beta.threads.create
DELETE /threads/{thread_id}                                 beta.threads.delete
POST   /threads/{thread_id}/runs                            beta.threads.runs.create
GET    /threads/{thread_id}/runs/{run_id}                   beta.threads.runs.retrieve
GET    /threads/{thread_id}/runs/{run_id}/steps             beta.threads.runs.steps.list
POST   /threads/{thread_id}/runs/{run_id}/submit_tool_outputs  beta.threads.runs.submit_tool_outputs
GET    /threads/{thread_id}/messages                        beta.threads.messages.list
POST   /threads/{thread_id}/messages                        beta.threads.messages.create
GET    /threads/{thread_id}/messages/{message_id}           beta.threads.messages.retrieve
GET    /fine_tuning/jobs                                    fine_tuning.jobs.list
POST   /fine_tuning/jobs                                    fine_tuning.jobs.create
GET    /fine_tuning/jobs/{fine_tuning_job_id}               fine_tuning.jobs.retrieve
GET    /vector_stores/{vector_store_id}/files               vector_stores.files.list
POST   /vector_stores/{vector_store_id}/search              vector_stores.search
GET    /vector_stores/{vector_store_id}/file_batches/{batch_id}  vector_stores.file_batches.retrieve
GET    /conversations/{conversation_id}                     conversations.retrieve
DELETE /conversations/{conversation_id}/items/{item_id}     conversations.items.delete
POST   /realtime/client_secrets                             realtime.client_secrets.create
POST   /realtime/sessions                                   beta.realtime.sessions.create
GET    /organization/usage/completions                      admin.organization.usage.completions
GET    /organization/usage/audio_speeches                   admin.organization.usage.audio_speeches
GET    /organization/usage/audio_transcriptions             admin.organization.usage.audio_transcriptions
"""

_OTHER_PROTOCOLS = frozenset(
    {
        *("a2a", "alephalpha", "bedrock", "bedrock_agent", "chroma", "cohere", "deepgram", "google_genai"),
        *("marqo", "mcp", "pinecone", "replicate", "sagemaker", "vertex", "voyage", "weaviate"),
    }
)
"""Providers whose recorded protocol is neither OpenAI's nor Anthropic's."""

_LEAST = {
    "audio.transcriptions.create": {"model": "whisper-1", "file": ("audio.wav", b"RIFF")},
    "images.edit": {"model": "gpt-image-1", "image": ("image.png", b"PNG"), "prompt": ""},
    "files.create": {"purpose": "assistants"},
}

_ADMIN = {"admin_api_key": "test"} if "admin_api_key" in (openai.OpenAI.__init__.__kwdefaults__ or ()) else {}

_METHODS = stainless.Methods(openai.OpenAI(api_key="test", **_ADMIN), _LEAST)  # type: ignore[arg-type]


def sends(provider: str, operation: str) -> bool:
    """Whether the provider speaks one of OpenAI's formats."""
    return provider not in {*_OTHER_PROTOCOLS, "anthropic"} and operation != "messages"


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    if recording.url.path.startswith("/api/embeddings"):
        return "another protocol"
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    query = dict(parse_qsl(recording.url.query))
    deployment = re.fullmatch(r"/*openai/deployments/([^/]+)", route.prefix)
    if deployment is None:
        return _METHODS.plan(recording, ClientKey("openai", recording.origin + route.prefix), route, query)
    name = unquote(deployment[1])
    settings = (("azure_deployment", name), ("api_version", query.pop("api-version")))
    return _METHODS.plan(recording, ClientKey("openai", recording.origin, "azure", settings), route, query, model=name)


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of OpenAI, or of Azure."""
    options = stainless.options(wire, asynchronous=asynchronous)
    if key.variant == "azure":
        azure: Any = openai.AsyncAzureOpenAI if asynchronous else openai.AzureOpenAI
        return azure(azure_endpoint=key.base_url, **dict(key.settings), **options)
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    return kind(base_url=key.base_url, **_ADMIN, **options)


SDK = Sdk(
    package="openai",
    library="openai",
    sends=sends,
    plan=plan,
    unsendable=frozenset(
        {
            "another protocol",
            "no method of the SDK sends GET /",
            "no method of the SDK sends GET /available-models",
            "no method of the SDK sends GET /props",
            "no method of the SDK sends GET /v1/responses",
            "no method of the SDK sends GET /v1/videos/…",
            "no method of the SDK sends POST /",
            "no method of the SDK sends POST /api/chat",
            "no method of the SDK sends POST /api/generate",
            "no method of the SDK sends POST /api/v1/image/generate",
            "no method of the SDK sends POST /api/v1/images",
            "no method of the SDK sends POST /pipeline/…",
            "no method of the SDK sends POST /router/v2/google/…",
            "no method of the SDK sends POST /v1/chat",
            "no method of the SDK sends POST /v1/realtime/calls",
            "no method of the SDK sends POST /v1/rerank",
            "no method of the SDK sends POST /v1/stt",
            "no method of the SDK sends POST /v1/tts",
            "no method of the SDK sends POST /v1/videos/…",
        }
    ),
    wire=partial(Wire, "openai"),
    client=client,
    ways=_METHODS.ways,
    added=frozenset({"encoding_format", "model"}),
)
