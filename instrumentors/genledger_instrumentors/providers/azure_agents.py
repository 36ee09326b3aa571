"""Azure's agents, 1.x: runs, which are jobs, polled or streamed.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ai/azure-ai-agents. A run is a call from its creation to the
answer that ends it: to a poll, to a cancellation, or in a stream, be it one that goes on with the outputs of tools. The
spans of its own instrumentor say how a run goes, and not once more what it consumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation
from genledger.engine.recorder import active
from genledger.instrumentation.adapters.azure_core import repeats_requests, write_request
from genledger.instrumentation.adapters.jobs import Job, JobClient
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field
from genledger.pricing.providers import providers

from ..formats.azure_runs import ENDED, RUN, events

_RUNS = tuple(f"RunsOperations.{name}" for name in ("create", "get", "cancel", "submit_tool_outputs"))
_AT_ONCE = ("AgentsClientOperationsMixin.create_thread_and_run", "_AgentsClientOperationsMixin.create_thread_and_run")
_MODULES = ("azure.ai.agents.operations._operations", "azure.ai.agents.aio.operations._operations")
_INHERITING = ("azure.ai.agents.operations._patch", "azure.ai.agents.aio.operations._patch")
_INHERITED = ("RunsOperations.get", "RunsOperations.cancel")
"""What the client's own instrumentor puts its own over, which would go past ours."""
_OWN = ("include", "content_type", "stream", "stream_parameter", "headers", "params", "cls")
"""Arguments that are for the client, and not a part of the request's body."""


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request: one that names no run creates it."""
    return None if "run_id" in given else RUN


def body(given: dict[str, Any]) -> Body:
    """Return the request: what is given at once, or by name."""
    whole = given.get("body")
    asked = whole if isinstance(whole, Mapping) else {name: given[name] for name in given if name not in _OWN}
    streamed = given.get("stream") or field(asked, "stream")
    return {**asked, "thread_id": given.get("thread_id"), "stream": bool(streamed)}


def job(run: Any, given: dict[str, Any]) -> Job | None:
    """Return the run in an answer."""
    name, status = field(run, "id"), field(run, "status")
    if not isinstance(name, str) or not isinstance(run, Mapping):
        return None
    ended = "cancelled" if status == "cancelled" else "finished" if status in ENDED else None
    return Job(name, ended, run)  # type: ignore[arg-type]


def endpoint(operations: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client was made for."""
    found = endpoint_at("azure.ai.openai", str(operations._config.endpoint), None)
    seller = providers().at((found.host or "").lower())
    return found if seller is None else found._replace(provider=seller.name)


def without_usage(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the client's own instrumentor describe a run without its usage, which our call has."""
    run = kwargs.get("run", args[-1] if args else None)
    if active() is None or not isinstance(run, Mapping) or run.get("usage") is None:
        return wrapped(*args, **kwargs)
    span = kwargs.get("span", args[0] if args else None)
    described = type(run)({name: value for name, value in run.items() if name != "usage"})  # type: ignore[call-arg]
    return wrapped(span, described)


class AzureAgentsInstrumentor(Instrumentor):
    """Records the runs of the `azure-ai-agents` package."""

    library = "azure-ai-agents"
    distribution = "azure-ai-agents"
    supports = "azure-ai-agents >= 1.0, < 2"

    def patches(self) -> Patches:
        """Return the methods that begin runs or learn of them, and what counts how often a request is sent."""
        functions = dict.fromkeys(_MODULES, (*_RUNS, *_AT_ONCE))
        runs = JobClient(self.library, functions, operation, endpoint, body, write_request, job, accumulate=events)
        inherited = replace(runs, functions=dict.fromkeys(_INHERITING, _INHERITED))
        described = "_AIAgentsInstrumentorPreview.set_end_run"
        return [
            *runs.patches(),
            *(one._replace(overriding=True) for one in inherited.patches() if isinstance(one, Patch)),
            repeats_requests(self.library),
            Patch("azure.ai.agents.telemetry._ai_agents_instrumentor", described, without_usage, optional=True),
        ]
