"""Clients of Azure, which send every request through the pipeline of `azure-core`.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/core/azure-core
"""

from __future__ import annotations

from typing import Any

from genledger.engine.call import running_call
from genledger.instrumentation.adapters.retries import note_retry
from genledger.instrumentation.patching import Patch
from genledger.pricing.getters import path


def repeats_requests(library: str) -> Patch:
    """Return the patch that notes what a library sends again, where the pipeline counts how often it may be sent."""

    def repeated(wrapped: Any, policy: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        again = wrapped(*args, **kwargs)
        call = running_call(library)
        answer = path(kwargs, "response", "http_response")
        if again and call is not None and note_retry(call, answer, kwargs.get("error")):
            call.readmit()
        return again

    return Patch("azure.core.pipeline.policies._retry", "RetryPolicyBase.increment", repeated)
