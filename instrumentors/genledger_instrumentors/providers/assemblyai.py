"""AssemblyAI's client, 0.40 to 1.x: transcripts, which are jobs, streamed ones, and the LLM gateway.

Client: https://github.com/AssemblyAI/assemblyai-python-sdk. API: https://www.assemblyai.com/docs/api-reference. Its
older sockets, its synchronous transcripts and LeMUR (withdrawn in 2026-03) are not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.jobs import Job, JobClient
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field, label

from ..formats.assemblyai_transcripts import CHAT, TRANSCRIPT, read_transcript
from .assemblyai_streaming import STREAMS

_MODULES = ("assemblyai.api", "assemblyai.prerecorded.v2.api", "assemblyai.prerecorded.v2.async_api")
_REQUESTS = ("create_transcript", "get_transcript")
_ENDED = ("completed", "error")
_SERVER = WireClient("assemblyai", {}, lambda client, host: "assemblyai")


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request: one with a request creates a transcript."""
    return TRANSCRIPT if "request" in given else None


def body(given: dict[str, Any]) -> Body:
    """Return what is asked for, with the first of the models that may do it."""
    request = given["request"]
    models = field(request, "speech_models")
    return {**request.dict(exclude_none=True), "model": models[0] if models else label(request, "speech_model")}


def write(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Ask another model, and no other."""
    request = given["request"]
    if "model" in changes:
        several = "speech_models" in type(request).__fields__
        models = {"speech_models": [changes["model"]], "speech_model": None}
        given["request"] = request.copy(update=models if several else {"speech_model": changes["model"]})


def job(transcript: Any, given: dict[str, Any]) -> Job | None:
    """Return the transcript in an answer."""
    name = field(transcript, "id")
    if not isinstance(name, str):
        return None
    ended = label(transcript, "status") in _ENDED
    return Job(name, "finished" if ended else None, read_transcript(transcript))


def endpoint(instance: object, given: dict[str, Any]) -> Endpoint:
    """Return the server that a request goes to: its own, or that of the HTTP client."""
    client = given["client"]
    return _SERVER.endpoint(client, str(given.get("base_url") or client.base_url), client.headers.get("authorization"))


class AssemblyAIInstrumentor(Instrumentor):
    """Records the calls of the `assemblyai` package."""

    library = "assemblyai"
    distribution = "assemblyai"
    supports = "assemblyai >= 0.40, < 2"

    def patches(self) -> Patches:
        """Return the functions that create a transcript and ask for it, those of the gateway, and those of sockets."""
        jobs = JobClient(
            self.library,
            dict.fromkeys(
                ("assemblyai.api", "assemblyai.prerecorded.v2.api", "assemblyai.prerecorded.v2.async_api"), _REQUESTS
            ),
            operation,
            endpoint,
            body,
            write,
            job,
        )
        gateway = Methods(
            self.library,
            {"assemblyai.llm_gateway.v1.api": "", "assemblyai.llm_gateway.v1.async_api": ""},
            {"create_completion": CHAT, "stream_completion": CHAT},
            endpoint,
            body=lambda instance, given: given["body"],
            write=lambda given, changes: given.update(body=with_changes(given["body"], changes)),
        )
        return [*jobs.patches(), *gateway.patches(), *STREAMS.patches()]
