"""LiveKit Agents: its own spans are its structure, so that only a budget's refusals need patches.

https://docs.livekit.io/agents/
"""

from __future__ import annotations

from genledger.instrumentation.adapters.refusals import raising_handled_refusals
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches


class LiveKitInstrumentor(Instrumentor):
    """Ends turns of LiveKit's agents at a budget's first refusal."""

    library = "livekit-agents"
    distribution = "livekit-agents"
    supports = "livekit-agents >= 1.8.2, < 2"

    def patches(self) -> Patches:
        """Return the patch of what plugins make of the errors of clients, after which a request is sent again."""
        return [Patch("livekit.agents._exceptions", "APIConnectionError.__init__", raising_handled_refusals)]
