"""MCP's servers, FastMCP's among them: a request is served in the attribution that came with it, where it is trusted.

Tool calls of clients and servers are steps by the table of native spans. MCP reads the context in a request's `_meta`
for the parent of its own span only; FastMCP leaves the baggage in it alone.

https://modelcontextprotocol.io/specification, `_meta` of requests.
"""

from __future__ import annotations

from operator import attrgetter

from genledger.instrumentation.adapters.served_requests import serving
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches


class MCPInstrumentor(Instrumentor):
    """Attributes what MCP's servers do."""

    library = "mcp"
    distribution = "mcp"
    supports = "mcp >= 2, < 3"

    def patches(self) -> Patches:
        """Return the patch of what serves requests and notifications."""
        return [Patch("mcp.server.runner", "ServerRunner._compose_server_middleware", serving(attrgetter("meta")))]
