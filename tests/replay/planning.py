"""Which method of which SDK sends a recorded request, and with which arguments."""

from __future__ import annotations

import email
import email.policy
import inspect
import io
import re
from dataclasses import dataclass
from email.message import EmailMessage
from functools import cache
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qsl, unquote

import anthropic
import openai

from .recordings import Recording


@dataclass(frozen=True)
class ClientKey:
    """What tells one SDK client from another. `azure` is (endpoint, deployment, api version)."""

    sdk: str
    base_url: str
    azure: tuple[str, str | None, str] | None = None


@dataclass(frozen=True)
class Plan:
    """One method call that sends what the recording has. `method` is a dotted path from the client."""

    recording: Recording
    client: ClientKey
    method: str
    kwargs: dict[str, Any]
    streams: bool


_OPENAI_ROUTES = """
POST   /chat/completions                                    chat.completions.create
POST   /completions                                         completions.create
POST   /responses                                           responses.create
POST   /responses/compact                                   responses.compact
POST   /responses/input_tokens                              responses.input_tokens.count
GET    /responses/{response_id}/input_items                 responses.input_items.list
GET    /responses/{response_id}                             responses.retrieve
POST   /embeddings                                          embeddings.create
POST   /moderations                                         moderations.create
POST   /images/generations                                  images.generate
POST   /images/edits                                        images.edit
POST   /images/variations                                   images.create_variation
POST   /audio/speech                                        audio.speech.create
POST   /audio/transcriptions                                audio.transcriptions.create
POST   /audio/translations                                  audio.translations.create
GET    /batches                                             batches.list
POST   /batches                                             batches.create
POST   /batches/{batch_id}/cancel                           batches.cancel
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

_ANTHROPIC_ROUTES = """
POST   /v1/messages                                         messages.create
POST   /v1/messages/count_tokens                            messages.count_tokens
POST   /v1/messages/batches                                 messages.batches.create
GET    /v1/messages/batches/{message_batch_id}/results      messages.batches.results
GET    /v1/messages/batches/{message_batch_id}              messages.batches.retrieve
POST   /v1/files                                            files.upload
DELETE /v1/files/{file_id}                                  files.delete
GET    /v1/models                                           models.list
"""

# Some recordings have lost their request body or its files: the least that the SDK accepts instead.
_LEAST: dict[str, dict[str, Any]] = {
    "messages.create": {"model": "claude-unknown", "max_tokens": 1, "messages": []},
    "audio.transcriptions.create": {"model": "whisper-1", "file": ("audio.wav", b"RIFF")},
    "images.edit": {"model": "gpt-image-1", "image": ("image.png", b"PNG"), "prompt": ""},
    "files.create": {"purpose": "assistants"},
}

OTHER_PROTOCOLS = frozenset(
    {
        *("a2a", "alephalpha", "bedrock", "bedrock_agent", "chroma", "cohere", "deepgram", "google_genai"),
        *("marqo", "mcp", "pinecone", "replicate", "sagemaker", "vertex", "voyage", "weaviate"),
    }
)
"""Providers whose recorded protocol is neither OpenAI's nor Anthropic's."""


def plan(recording: Recording) -> Plan | str:
    """How the installed SDK would have sent the recorded request, or why it cannot."""
    if recording.provider in OTHER_PROTOCOLS or recording.url.path.startswith("/api/embeddings"):
        return "another protocol"
    query = dict(parse_qsl(recording.url.query))
    speaks_anthropic = recording.provider == "anthropic" or recording.operation == "messages"
    routes = _routes(_ANTHROPIC_ROUTES if speaks_anthropic else _OPENAI_ROUTES)
    for verb, pattern, method in routes:
        match = pattern.fullmatch(recording.url.path)
        if verb != recording.method or match is None:
            continue
        path_arguments = match.groupdict()
        prefix = path_arguments.pop("prefix")
        client, beta = _client(recording, "anthropic" if speaks_anthropic else "openai", prefix, query)
        if beta:
            method = f"beta.{method}"
        return _with_arguments(recording, client, method, path_arguments, query)
    path = recording.url.path
    for family in ("/v1/videos/", "/pipeline/", "/router/v2/google/"):
        path = family + "…" if path.startswith(family) else path
    return f"no method of the SDK sends {recording.method} {path}"


@cache
def _routes(table: str) -> list[tuple[str, re.Pattern[str], str]]:
    routes = []
    for line in table.strip().splitlines():
        verb, path, method = line.split()
        pattern = "(?P<prefix>.*?)" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
        routes.append((verb, re.compile(pattern), method))
    return routes


def _client(recording: Recording, sdk: str, prefix: str, query: dict[str, str]) -> tuple[ClientKey, bool]:
    origin = f"{recording.url.scheme}://{recording.url.netloc}"
    if sdk == "anthropic":
        beta = query.pop("beta", "") == "true" or "anthropic-beta" in recording.request_headers
        return ClientKey(sdk, origin + prefix), beta
    deployment = re.fullmatch(r"/*openai/deployments/([^/]+)", prefix)
    if deployment is not None:
        azure = (origin, unquote(deployment[1]), query.pop("api-version"))
        return ClientKey(sdk, origin, azure), False
    return ClientKey(sdk, origin + prefix), False


def _with_arguments(
    recording: Recording,
    client: ClientKey,
    method: str,
    path_arguments: dict[str, str],
    query: dict[str, str],
) -> Plan | str:
    accepted = parameters(client.sdk, method)
    if accepted is None:
        return f"this version of the {client.sdk} SDK has no {method}"
    body = _LEAST.get(method, {}) | (_arguments(recording) or {})
    if recording.stream and "stream" in accepted:
        body["stream"] = True  # some bodies were cut before they say so
    if client.azure is not None:
        body.setdefault("model", client.azure[1])
    kwargs: dict[str, Any] = {}
    for extra, given in (("extra_body", body), ("extra_query", query)):
        known = {key: value for key, value in given.items() if key in accepted}
        unknown = {key: value for key, value in given.items() if key not in accepted}
        kwargs |= known
        if unknown:
            kwargs[extra] = unknown
    if "anthropic-beta" in recording.request_headers and "betas" in accepted:
        kwargs["betas"] = recording.request_headers["anthropic-beta"].split(",")
    kwargs |= {name: unquote(value) for name, value in path_arguments.items()}
    return Plan(recording, client, method, kwargs, streams=body.get("stream") is True)


@cache
def parameters(sdk: str, method: str) -> frozenset[str] | None:
    """The names of the arguments that `method` takes, or `None` when this version has no such method."""
    key = {"openai": {"api_key": "test", "admin_api_key": "test"}, "anthropic": {"api_key": "test"}}[sdk]
    client = openai.OpenAI(**key) if sdk == "openai" else anthropic.Anthropic(**key)  # type: ignore[arg-type]
    try:
        return frozenset(inspect.signature(attrgetter(method)(client)).parameters)
    except AttributeError:
        return None


def _arguments(recording: Recording) -> dict[str, Any] | None:
    body = recording.request_body
    if body is None:
        return {} if recording.method != "POST" else None
    if isinstance(body, dict):
        return dict(body)
    raw = body if isinstance(body, bytes) else str(body).encode()
    return _multipart(recording.request_headers.get("content-type", ""), raw)


def _multipart(content_type: str, raw: bytes) -> dict[str, Any] | None:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    if not message.is_multipart():
        return None
    arguments: dict[str, Any] = {}
    for part in message.iter_parts():
        assert isinstance(part, EmailMessage)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        filename = part.get_filename()
        if filename is not None:
            arguments[name] = (filename, io.BytesIO(content).getvalue())
        elif name.endswith("[]"):
            arguments.setdefault(name.removesuffix("[]"), []).append(content.decode())
        else:
            arguments[name] = {"true": True, "false": False}.get(content.decode(), content.decode())
    return arguments
