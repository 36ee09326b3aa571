"""Azure's agents: runs, which are jobs. This one has ended when it is created; what it said is asked for apart."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT
from tests.contract.server import Reply, json_reply

MODEL = "gpt-4o"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


def run(status: str = "completed", **fields: Any) -> dict[str, Any]:
    """Make a run, as the service describes it."""
    usage = USAGE if status == "completed" else None
    made: dict[str, Any] = {
        "id": "run_1",
        "object": "thread.run",
        "thread_id": "thread_1",
        "assistant_id": "agent_1",
        "status": status,
        "created_at": 1790000000,
        "model": MODEL,
        "instructions": "",
        "tools": [],
        "usage": usage,
        "last_error": None,
        "incomplete_details": None,
        "metadata": {},
    }
    return {**made, **fields}


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    from azure.core.credentials import AzureKeyCredential
    from azure.core.pipeline.policies import AzureKeyCredentialPolicy

    if asynchronous:
        from azure.ai.agents.aio import AgentsClient
    else:
        from azure.ai.agents import AgentsClient

    key = AzureKeyCredential("k")
    waits = {"retry_total": retries, "retry_backoff_factor": 0, "read_timeout": 20}
    # A token, which the client has otherwise, is not sent without TLS.
    return AgentsClient(url, key, authentication_policy=AzureKeyCredentialPolicy(key, "api-key"), **waits)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    from azure.ai.agents.models import ThreadMessageOptions

    given: dict[str, Any] = {"additional_messages": [ThreadMessageOptions(role="user", content=PROMPT)]}
    if max_tokens is not None:
        given["max_completion_tokens"] = max_tokens
    return client.runs.create_and_process("thread_1", agent_id="agent_1", model=MODEL, polling_interval=0, **given)


def error(status: int) -> Reply:
    """Make an error answer."""
    return json_reply({"error": {"code": "no", "message": f"No: {PROMPT}"}}, status)


ROW = Row(
    library="azure-ai-agents",
    module="azure.ai.agents",
    client=make,
    call=ask,
    whole=json_reply(run()),
    events=(),
    provider="azure.ai.openai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,  # https://azure.microsoft.com/pricing/details/cognitive-services/openai-service
    error=error,
    limit=lambda request: request.json.get("max_completion_tokens"),
    cheaper="gpt-4o-mini",
    streams=False,
    says=False,
    operation="invoke_agent",
)
