"""AutoGen: runs of its teams. Its agents and tools have spans of their own.

A team's agents run in tasks that its run starts: the run is the parent of all that they do.

https://microsoft.github.io/autogen/stable/user-guide/core-user-guide/framework/telemetry.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

from genledger.instrumentation.adapters.refusals import ToldRefusals
from genledger.instrumentation.adapters.stepped_functions import PLUMBING, Described, SteppedCall, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field

from ..formats.autogen_messages import read_result, read_task


def describe_run(team: Any, given: dict[str, Any]) -> Described:
    """Return what the run of a team is."""
    return Described("workflow", team.name, content=partial(read_task, given.get("task")))


def finish_run(call: SteppedCall, result: Any) -> None:
    """Write the result of a run, which is the last item of its stream."""
    call.write(partial(read_result, result))


REFUSALS = ToldRefusals()


def tool_results(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap the results of tools on their way to the model: an agent waits for ever for a tool that raises."""
    for result in kwargs.get("content") or ():
        refusal = REFUSALS.in_text(str(field(result, "content")))
        if refusal is not None:
            raise refusal
    return wrapped(*args, **kwargs)


class AutogenInstrumentor(Instrumentor):
    """Records the runs of AutoGen's teams."""

    library = "autogen"
    distribution = "autogen-agentchat"
    supports = "autogen-agentchat >= 0.7, < 1"

    def patches(self) -> Patches:
        """Return the patches of runs, and of what becomes of errors.

        An agent's stream leaves its span current in whoever reads it, unless its steps have a context of their own.
        """
        teams = "autogen_agentchat.teams._group_chat"
        return [
            Patch(
                f"{teams}._base_group_chat",
                "BaseGroupChat.run_stream",
                stepping(describe_run, finish_run, last=True, error=REFUSALS.behind),
            ),
            Patch(
                "autogen_agentchat.agents._base_chat_agent",
                "BaseChatAgent.run_stream",
                stepping(lambda agent, given: PLUMBING, last=True),
            ),
            Patch(f"{teams}._events", "SerializableException.from_exception", REFUSALS.told),
            Patch("autogen_core.tools._static_workbench", "StaticWorkbench._format_errors", REFUSALS.told),
            Patch("autogen_agentchat.messages", "ToolCallExecutionEvent.__init__", tool_results),
        ]
