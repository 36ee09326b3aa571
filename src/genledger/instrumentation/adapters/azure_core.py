"""Clients of Azure, which send every request through the pipeline of `azure-core`.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/core/azure-core
"""

from __future__ import annotations

from genledger.instrumentation.adapters.retries import decides
from genledger.instrumentation.patching import Patch


def repeats_requests(library: str) -> Patch:
    """Return the patch that notes what a library sends again, where the pipeline counts how often it may be sent."""
    return decides(library, "azure.core.pipeline.policies._retry", "RetryPolicyBase.increment")
