"""Microsoft's Agent Framework: its own spans are its structure, so that only a budget's refusals need patches.

https://learn.microsoft.com/en-us/agent-framework/
"""

from __future__ import annotations

from genledger.instrumentation.adapters.refusals import raising_refusals
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches


class AgentFrameworkInstrumentor(Instrumentor):
    """Ends runs of Agent Framework at a budget's first refusal."""

    library = "agent-framework"
    distribution = "agent-framework-core"
    supports = "agent-framework-core >= 1.16, < 2"

    def patches(self) -> Patches:
        """Return the patches of what wraps the errors of models, and of what tells the model that a tool failed."""
        return [
            Patch("agent_framework.exceptions", "AgentFrameworkException.__init__", raising_refusals),
            Patch("agent_framework._tools", "_function_execution_error_result", raising_refusals),
        ]
