"""LiteLLM's library, 1.71 to 1.x: its functions, whichever client or HTTP request they are done by, and its Router.

https://github.com/BerriAI/litellm, https://docs.litellm.ai/docs. What goes through another instrumented client is one
call inside another, which is priced. The Router looks functions up when it calls them: each of its attempts is a call.
Functions that the application imported by name before are recorded below LiteLLM's decorator, where each request that
it sends again is a call, and what its cache answers is none. So are chats that LiteLLM makes of text completions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genledger.engine.operation import Endpoint, Operation
from genledger.instrumentation.adapters.cached_parts import cached_parts
from genledger.instrumentation.adapters.decorated import behind_decorators, unless_running
from genledger.instrumentation.adapters.methods import Find, Methods
from genledger.instrumentation.adapters.own_spans import runs_outside
from genledger.instrumentation.adapters.retries import repeats
from genledger.instrumentation.adapters.wire import reaches
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.cohere_documents import RERANK
from ..formats.litellm_answers import (
    CHAT,
    COMBINING,
    COMPLETIONS,
    GENERATE_CONTENT,
    MESSAGES,
    cause_of,
    kept_chunks,
    read_local,
    read_parts,
    read_result,
)
from ..formats.litellm_requests import body, endpoint, endpoint_reached, names_arguments, write
from ..formats.openai_embeddings import EMBEDDINGS, MODERATIONS
from ..formats.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS
from ..formats.openai_responses import RESPONSES

_NAMED = {
    "completion": CHAT,
    "text_completion": COMPLETIONS,
    "embedding": EMBEDDINGS,
    "responses": RESPONSES,
    "rerank": RERANK,
    **dict.fromkeys(("image_generation", "image_edit", "image_variation"), IMAGES),
    "speech": SPEECH,
    "transcription": TRANSCRIPTIONS,
    "moderation": MODERATIONS,
}
_LOGGING = "litellm.litellm_core_utils.litellm_logging"
_REPEATED = (
    *(("completion", "completion"), ("acompletion", "completion")),
    *(("responses", "responses"), ("aresponses", "aresponses")),
)
"""What LiteLLM calls again, and by which function where it is not told."""
_GENERATING = {f"{a}generate_content{stream}": GENERATE_CONTENT for a in ("", "a") for stream in ("", "_stream")}
_ANTHROPIC = ("litellm.anthropic_interface", "litellm.anthropic_interface.messages")
_DEFINED = (
    *("litellm.main", "litellm.images.main", "litellm.rerank_api.main", "litellm.responses.main"),
    *("litellm.google_genai.main", "litellm.llms.anthropic.messages.native.handler"),
    "litellm.llms.anthropic.experimental_pass_through.messages.handler",
)
"""Where the functions are defined, and decorated."""


def reached(asked: Endpoint, logging: Any, given: Mapping[str, Any]) -> Endpoint:
    """Return who a request goes to: LiteLLM notes it just before, whatever sends the request."""
    url = (given.get("additional_args") or {}).get("api_base")
    return endpoint_reached(asked, logging.model_call_details.get("custom_llm_provider"), str(url or ""))


def _functions(modules: Iterable[str], operations: Mapping[str, Operation | Find]) -> Patches:
    return Methods(
        "litellm",
        dict.fromkeys(modules, ""),
        operations,
        endpoint,
        body,
        write,
        answer=read_result,
        received=True,
        kept=kept_chunks,
        local=read_local,
        cause=cause_of,
        signature=names_arguments,
    ).patches()


class LitellmInstrumentor(Instrumentor):
    """Records the calls of the `litellm` package."""

    library = distribution = "litellm"
    supports = "litellm >= 1.71, < 2"

    def patches(self) -> Patches:
        """Return the functions, what tells where a request goes, and what sends one again."""
        named = {**_NAMED, **{f"a{name}": one for name, one in _NAMED.items()}, "anthropic_messages": MESSAGES}
        below = {name: unless_running(self.library, operation) for name, operation in {**named, **_GENERATING}.items()}
        patches: Patches = [
            *_functions(("litellm",), {**named, **_GENERATING}),
            *_functions(("litellm.google_genai",), _GENERATING),
            *_functions(_ANTHROPIC, {"create": MESSAGES, "acreate": MESSAGES}),
            *behind_decorators(_functions(_DEFINED, below)),
        ]
        return [
            *patches,
            *(repeats("litellm", "litellm", f"{one}_with_retries", "original_function", by) for one, by in _REPEATED),
            reaches("litellm", _LOGGING, "Logging.pre_call", reached),
            *cached_parts("litellm", COMBINING, read_parts),
            *(
                runs_outside("litellm", _LOGGING, f"Logging.{name}")
                for name in ("success_handler", "async_success_handler", "failure_handler", "async_failure_handler")
            ),
        ]
