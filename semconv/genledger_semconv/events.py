"""Names of the events: log records that have an event name, attributes and no body."""

from __future__ import annotations

from typing import Final

# GenAI conventions
GEN_AI_CLIENT_INFERENCE_OPERATION_DETAILS: Final = "gen_ai.client.inference.operation.details"
GEN_AI_EVALUATION_RESULT: Final = "gen_ai.evaluation.result"
GEN_AI_CLIENT_OPERATION_EXCEPTION: Final = "gen_ai.client.operation.exception"

# Genledger
GENLEDGER_OUTCOME: Final = "genledger.outcome"
GENLEDGER_CACHE_HIT: Final = "genledger.cache_hit"
