"""Semantic Kernel: runs of its agents, and searches. Its functions are tools, with spans of its own.

It has spans of agents, too, behind an environment variable; they stay current in whoever reads an agent's stream.
Where an application has them on, they are the structure.

https://learn.microsoft.com/en-us/semantic-kernel/
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from genledger.instrumentation.adapters.message_hops import message_hops
from genledger.instrumentation.adapters.refusals import CaughtRefusals, raising_handled_refusals
from genledger.instrumentation.adapters.stepped_functions import PLUMBING, Described, SteppedCall, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger_semconv import attributes as A

from ..formats.kernel_messages import read_answered, read_asked

AGENTS = {
    "semantic_kernel.agents.chat_completion.chat_completion_agent": "ChatCompletionAgent",
    "semantic_kernel.agents.open_ai.openai_assistant_agent": "OpenAIAssistantAgent",
    "semantic_kernel.agents.open_ai.openai_responses_agent": "OpenAIResponsesAgent",
    "semantic_kernel.agents.azure_ai.azure_ai_agent": "AzureAIAgent",
    "semantic_kernel.agents.bedrock.bedrock_agent": "BedrockAgent",
    "semantic_kernel.agents.copilot_studio.copilot_studio_agent": "CopilotStudioAgent",
}
"""The classes of agents, by their modules."""

DIAGNOSTICS = "semantic_kernel.utils.telemetry.agent_diagnostics.decorators"


def describe_run(agent: Any, given: dict[str, Any]) -> Described:
    """Return what the run of an agent is: plumbing, where Semantic Kernel has a span for it."""
    if sys.modules[DIAGNOSTICS].are_model_diagnostics_enabled():
        return PLUMBING
    return Described(
        "agent",
        agent.name,
        {
            A.GEN_AI_AGENT_ID: agent.id,
            A.GEN_AI_AGENT_DESCRIPTION: agent.description,
            A.GEN_AI_CONVERSATION_ID: getattr(given.get("thread"), "id", None),
        },
        partial(read_asked, given.get("messages")),
    )


def finish_run(call: SteppedCall, item: Any) -> None:
    """Write the answer to a run, if there is one."""
    if item is not None:
        call.write(partial(read_answered, item))


def describe_search(collection: Any, given: dict[str, Any]) -> Described:
    """Return what a search in a collection of vectors is; what it finds is read later."""
    query = given.get("values")
    content = {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query} if isinstance(query, str) else None
    return Described("retrieval", collection.collection_name, content=content)


class SemanticKernelInstrumentor(Instrumentor):
    """Records the runs of Semantic Kernel's agents, alone and together, and searches in its collections."""

    library = "semantic-kernel"
    distribution = "semantic-kernel"
    supports = "semantic-kernel >= 1.45, < 2"

    def patches(self) -> Patches:
        """Return the patches of agents, and of what becomes of errors."""
        run = stepping(describe_run, finish_run, last=True)
        tools = CaughtRefusals(lambda args, kwargs: args[0].function)
        search = stepping(describe_search)
        agents: Patches = [
            Patch(module, f"{cls}.{name}", run, optional=True)
            for module, cls in AGENTS.items()
            for name in ("get_response", "invoke", "invoke_stream")
        ]
        runtime = "InProcessRuntime"
        hops = message_hops(
            "semantic_kernel.agents.runtime.in_process.in_process_runtime",
            ("PublishMessageEnvelope", "SendMessageEnvelope"),
            (f"{runtime}._process_publish", f"{runtime}._process_send"),
        )
        return [
            *agents,
            *hops,
            Patch("semantic_kernel.data.vector", "VectorSearch.search", search, optional=True),
            Patch("semantic_kernel.data.vector", "VectorSearch.hybrid_search", search, optional=True),
            Patch("semantic_kernel.exceptions.kernel_exceptions", "KernelException.__init__", raising_handled_refusals),
            Patch("semantic_kernel.functions.kernel_function", "KernelFunction.invoke", tools.noted),
            Patch("semantic_kernel.kernel", "Kernel._inner_auto_function_invoke_handler", tools.raised, optional=True),
        ]
