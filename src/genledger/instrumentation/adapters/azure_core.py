"""Clients of Azure, which send every request through the pipeline of `azure-core`.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/core/azure-core
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import with_changes
from genledger.instrumentation.adapters.methods import update
from genledger.instrumentation.adapters.retries import decides
from genledger.instrumentation.patching import Patch


def repeats_requests(library: str) -> Patch:
    """Return the patch that notes what a library sends again, where the pipeline counts how often it may be sent."""
    return decides(library, "azure.core.pipeline.policies._retry", "RetryPolicyBase.increment")


def write_request(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into a request as it is given: in one argument, or by its fields."""
    whole = arguments.get("body")
    if isinstance(whole, Mapping):
        arguments["body"] = with_changes(whole, changes)
    else:
        update(arguments, changes)
