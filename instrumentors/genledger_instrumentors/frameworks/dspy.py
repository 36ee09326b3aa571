"""DSPy, 2.6.24 to 3.x."""

from __future__ import annotations

from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..providers.lm15 import CLIENT


class DspyInstrumentor(Instrumentor):
    """Records the structure of DSPy's runs, and the calls of its own client."""

    library = "dspy"
    distribution = "dspy"
    supports = "dspy >= 2.6.24, < 4"

    def patches(self) -> Patches:
        """Return what runs modules and tools, and what sends requests."""
        return [*CLIENT.patches()]
