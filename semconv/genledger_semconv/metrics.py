"""Names of the metrics, one constant each, and the bucket boundaries of the histograms.

Instrument, unit, value type and attributes of each metric are in `registry/metrics.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# GenAI conventions
GEN_AI_CLIENT_INFERENCE_DURATION: Final = "gen_ai.client.inference.duration"
GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.inference.time_to_first_chunk"
GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.inference.time_per_output_chunk"
GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS: Final = "gen_ai.client.inference.usage.input_tokens"
GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.output_tokens"
GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS: Final = "gen_ai.client.inference.usage.cache_write.input_tokens"
GEN_AI_CLIENT_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS: Final = "gen_ai.client.inference.operation.input_tokens"
GEN_AI_CLIENT_INFERENCE_OPERATION_OUTPUT_TOKENS: Final = "gen_ai.client.inference.operation.output_tokens"
GEN_AI_CLIENT_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
GEN_AI_INVOKE_AGENT_DURATION: Final = "gen_ai.invoke_agent.duration"
GEN_AI_INVOKE_AGENT_INFERENCE_CALLS: Final = "gen_ai.invoke_agent.inference_calls"
GEN_AI_INVOKE_AGENT_TOOL_CALLS: Final = "gen_ai.invoke_agent.tool_calls"
GEN_AI_EXECUTE_TOOL_DURATION: Final = "gen_ai.execute_tool.duration"
GEN_AI_INVOKE_WORKFLOW_DURATION: Final = "gen_ai.invoke_workflow.duration"
GEN_AI_SERVER_REQUEST_DURATION: Final = "gen_ai.server.request.duration"
GEN_AI_SERVER_TIME_TO_FIRST_TOKEN: Final = "gen_ai.server.time_to_first_token"
GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN: Final = "gen_ai.server.time_per_output_token"
MCP_CLIENT_OPERATION_DURATION: Final = "mcp.client.operation.duration"
MCP_CLIENT_SESSION_DURATION: Final = "mcp.client.session.duration"
MCP_SERVER_OPERATION_DURATION: Final = "mcp.server.operation.duration"
MCP_SERVER_SESSION_DURATION: Final = "mcp.server.session.duration"

# GenAI conventions v1.41
GEN_AI_CLIENT_TOKEN_USAGE: Final = "gen_ai.client.token.usage"
GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
GEN_AI_CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"

# Core semantic conventions
DB_CLIENT_OPERATION_DURATION: Final = "db.client.operation.duration"
DB_CLIENT_RESPONSE_RETURNED_ROWS: Final = "db.client.response.returned_rows"

# Genledger
GENLEDGER_COST: Final = "genledger.cost"
GENLEDGER_UNPRICED_CALLS: Final = "genledger.unpriced.calls"
GENLEDGER_EMBEDDINGS_TOKENS: Final = "genledger.embeddings.tokens"
GENLEDGER_RERANK_TOKENS: Final = "genledger.rerank.tokens"
GENLEDGER_OUTCOMES: Final = "genledger.outcomes"
GENLEDGER_OUTCOMES_VALUE: Final = "genledger.outcomes.value"
GENLEDGER_OUTCOMES_WITHDRAWN: Final = "genledger.outcomes.withdrawn"
GENLEDGER_CACHE_HITS: Final = "genledger.cache.hits"
GENLEDGER_CACHE_SAVED: Final = "genledger.cache.saved"
GENLEDGER_LABELS_OVERFLOW: Final = "genledger.labels.overflow"
GENLEDGER_BUDGET_USED: Final = "genledger.budget.used"
GENLEDGER_BUDGET_RESERVED: Final = "genledger.budget.reserved"
GENLEDGER_BUDGET_BLOCKS: Final = "genledger.budget.blocks"
GENLEDGER_BUDGET_STORE_FAILURES: Final = "genledger.budget.store.failures"
GENLEDGER_DESTINATION_RECORDS: Final = "genledger.destination.records"

# Bucket boundaries: seconds for durations, counts for the others
# fmt: off
DURATION_BUCKETS: Final[tuple[float, ...]] = tuple(0.01 * 2**n for n in range(14))
TOKEN_BUCKETS: Final[tuple[float, ...]] = tuple(4**n for n in range(14))
AGENT_DURATION_BUCKETS: Final[tuple[float, ...]] = tuple(0.1 * 2**n for n in range(13))
CALL_BUCKETS: Final[tuple[float, ...]] = tuple(2**n for n in range(8))
WORKFLOW_DURATION_BUCKETS: Final[tuple[float, ...]] = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
TIME_TO_FIRST_TOKEN_BUCKETS: Final[tuple[float, ...]] = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)
TIME_PER_OUTPUT_TOKEN_BUCKETS: Final[tuple[float, ...]] = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
)
MCP_DURATION_BUCKETS: Final[tuple[float, ...]] = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300,
)
DB_DURATION_BUCKETS: Final[tuple[float, ...]] = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
ROW_BUCKETS: Final[tuple[float, ...]] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
# fmt: on

BUCKETS: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType(
    {
        GEN_AI_CLIENT_INFERENCE_DURATION: DURATION_BUCKETS,
        GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK: DURATION_BUCKETS,
        GEN_AI_CLIENT_INFERENCE_TIME_PER_OUTPUT_CHUNK: DURATION_BUCKETS,
        GEN_AI_CLIENT_INFERENCE_OPERATION_INPUT_TOKENS: TOKEN_BUCKETS,
        GEN_AI_CLIENT_INFERENCE_OPERATION_OUTPUT_TOKENS: TOKEN_BUCKETS,
        GEN_AI_CLIENT_OPERATION_DURATION: DURATION_BUCKETS,
        GEN_AI_CLIENT_TOKEN_USAGE: TOKEN_BUCKETS,
        GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK: DURATION_BUCKETS,
        GEN_AI_CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK: DURATION_BUCKETS,
        GEN_AI_INVOKE_AGENT_DURATION: AGENT_DURATION_BUCKETS,
        GEN_AI_INVOKE_AGENT_INFERENCE_CALLS: CALL_BUCKETS,
        GEN_AI_INVOKE_AGENT_TOOL_CALLS: CALL_BUCKETS,
        GEN_AI_EXECUTE_TOOL_DURATION: DURATION_BUCKETS,
        GEN_AI_INVOKE_WORKFLOW_DURATION: WORKFLOW_DURATION_BUCKETS,
        GEN_AI_SERVER_REQUEST_DURATION: DURATION_BUCKETS,
        GEN_AI_SERVER_TIME_TO_FIRST_TOKEN: TIME_TO_FIRST_TOKEN_BUCKETS,
        GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN: TIME_PER_OUTPUT_TOKEN_BUCKETS,
        MCP_CLIENT_OPERATION_DURATION: MCP_DURATION_BUCKETS,
        MCP_CLIENT_SESSION_DURATION: MCP_DURATION_BUCKETS,
        MCP_SERVER_OPERATION_DURATION: MCP_DURATION_BUCKETS,
        MCP_SERVER_SESSION_DURATION: MCP_DURATION_BUCKETS,
        DB_CLIENT_OPERATION_DURATION: DB_DURATION_BUCKETS,
        DB_CLIENT_RESPONSE_RETURNED_ROWS: ROW_BUCKETS,
    }
)
"""The bucket boundaries of every histogram, by metric name."""
