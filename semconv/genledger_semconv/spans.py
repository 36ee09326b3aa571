"""Span types and the operations they describe.

A span's type is not on the wire: it follows from the operation, the kind, and whether the span has `db.*` or
`mcp.*` attributes. What each type carries is in `registry/spans.json`.
"""

from __future__ import annotations

from typing import Final

# Span types
GEN_AI_CLIENT_INFERENCE: Final = "gen_ai.client.inference"
GEN_AI_EMBEDDINGS_CLIENT: Final = "gen_ai.embeddings.client"
GEN_AI_RETRIEVAL_CLIENT: Final = "gen_ai.retrieval.client"
GEN_AI_FETCH_RESPONSE_CLIENT: Final = "gen_ai.fetch_response.client"
GEN_AI_MEMORY_CLIENT: Final = "gen_ai.memory.client"
GEN_AI_CREATE_AGENT_CLIENT: Final = "gen_ai.create_agent.client"
GEN_AI_INVOKE_AGENT_CLIENT: Final = "gen_ai.invoke_agent.client"
GEN_AI_INVOKE_AGENT_INTERNAL: Final = "gen_ai.invoke_agent.internal"
GEN_AI_EXECUTE_TOOL_INTERNAL: Final = "gen_ai.execute_tool.internal"
GEN_AI_INVOKE_WORKFLOW_INTERNAL: Final = "gen_ai.invoke_workflow.internal"
GEN_AI_PLAN_INTERNAL: Final = "gen_ai.plan.internal"
MCP_CLIENT: Final = "mcp.client"
MCP_SERVER: Final = "mcp.server"
DB_CLIENT: Final = "db.client"
GENLEDGER_CLIENT: Final = "genledger.client"
GENLEDGER_INVOKE_WORKFLOW_CLIENT: Final = "genledger.invoke_workflow.client"
GENLEDGER_TASK_INTERNAL: Final = "genledger.task.internal"

# Operations of the conventions: values of gen_ai.operation.name
CHAT: Final = "chat"
GENERATE_CONTENT: Final = "generate_content"
TEXT_COMPLETION: Final = "text_completion"
EMBEDDINGS: Final = "embeddings"
RETRIEVAL: Final = "retrieval"
FETCH_RESPONSE: Final = "fetch_response"
CREATE_AGENT: Final = "create_agent"
INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"
INVOKE_WORKFLOW: Final = "invoke_workflow"
PLAN: Final = "plan"
SEARCH_MEMORY: Final = "search_memory"
CREATE_MEMORY: Final = "create_memory"
UPDATE_MEMORY: Final = "update_memory"
UPSERT_MEMORY: Final = "upsert_memory"
DELETE_MEMORY: Final = "delete_memory"
CREATE_MEMORY_STORE: Final = "create_memory_store"
DELETE_MEMORY_STORE: Final = "delete_memory_store"

# Operations that the conventions lack
RERANK: Final = "rerank"
IMAGE_GENERATION: Final = "image_generation"
SPEECH: Final = "speech"
TRANSCRIPTION: Final = "transcription"
TRANSLATION: Final = "translation"
MODERATION: Final = "moderation"
OCR: Final = "ocr"
COUNT_TOKENS: Final = "count_tokens"
CREATE_CACHE: Final = "create_cache"
CODE_EXECUTION: Final = "code_execution"
BATCH: Final = "batch"
REALTIME: Final = "realtime"

INFERENCE_OPERATIONS: Final = frozenset({CHAT, GENERATE_CONTENT, TEXT_COMPLETION})
"""Operations whose metrics are `gen_ai.client.inference.*`."""

EXTENSION_OPERATIONS: Final = frozenset(
    {
        *(RERANK, IMAGE_GENERATION, SPEECH, TRANSCRIPTION, TRANSLATION, MODERATION, OCR),
        *(COUNT_TOKENS, CREATE_CACHE, CODE_EXECUTION, BATCH, REALTIME),
    }
)
"""Operations of ours: spans of type `genledger.client`."""
