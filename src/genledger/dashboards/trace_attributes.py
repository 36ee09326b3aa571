"""The attributes of a call's span that the fields of questions come from."""

from __future__ import annotations

from collections.abc import Mapping

from genledger_semconv import attributes as A

ATTRIBUTES: Mapping[str, str] = {
    "tenant": A.GENLEDGER_TENANT_ID,
    "feature": A.GENLEDGER_FEATURE,
    "user": A.USER_ID,
    "prompt_version": A.GEN_AI_PROMPT_VERSION,
    "model": A.GEN_AI_RESPONSE_MODEL,
    "request_model": A.GEN_AI_REQUEST_MODEL,
    "provider": A.GEN_AI_PROVIDER_NAME,
    "operation": A.GEN_AI_OPERATION_NAME,
    "outcome": A.GENLEDGER_OUTCOME,
    "error_type": A.ERROR_TYPE,
    "unpriced_reason": A.GENLEDGER_COST_UNPRICED,
    "trace": "trace.trace_id",
}
"""Fields by which traces can be found."""
