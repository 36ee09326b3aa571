"""Agent runs, in which the loop caps of budgets count."""

from __future__ import annotations

from dataclasses import dataclass, field

from opentelemetry.context import Context, create_key

RUN_KEY = create_key("genledger-run")


@dataclass(slots=True)
class AgentRun:
    """One run of an agent or workflow.

    Attributes:
        id: The span id of the block that began it, in hexadecimal.
        depth: In how many runs it is nested.
        tool_calls: A signature for each tool call since the last call to a provider.
        inferences: Inference calls so far, those of runs inside left out.
        tools: Tools run so far, those of runs inside left out.
    """

    id: str
    depth: int
    tool_calls: list[str] = field(default_factory=list)
    inferences: int = 0
    tools: int = 0


def run_in(context: Context) -> AgentRun | None:
    """Return the run of a context."""
    run = context.get(RUN_KEY)
    return run if isinstance(run, AgentRun) else None
