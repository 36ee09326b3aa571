"""Agno: the runs of agents, teams and workflows, their tools, and searches in knowledge.

https://docs.agno.com
"""

from __future__ import annotations

from genledger.instrumentation.adapters.stepped_functions import stepped
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats import agno_runs as runs

RUNS = ("run", "arun", "continue_run", "acontinue_run")
STEPS = ("execute", "aexecute", "execute_stream", "aexecute_stream")
HOOKS = ("execute_pre_hooks", "aexecute_pre_hooks", "execute_post_hooks", "aexecute_post_hooks")


class AgnoInstrumentor(Instrumentor):
    """Records the structure of Agno's runs."""

    library = "agno"
    distribution = "agno"
    supports = "agno >= 3.0, < 4"

    def patches(self) -> Patches:
        """Return the functions that are steps."""
        agents = (("agno.agent.agent", "Agent"), ("agno.team.team", "Team"))
        return [
            *(
                stepped(module, f"{cls}.{name}", runs.describe_agent, runs.finish_run)
                for module, cls in agents
                for name in RUNS
            ),
            *(
                stepped("agno.workflow.workflow", f"Workflow.{name}", runs.describe_workflow, runs.finish_run)
                for name in RUNS
            ),
            *(
                stepped("agno.workflow.step", f"Step.{name}", runs.describe_workflow_step, runs.finish_workflow_step)
                for name in STEPS
            ),
            *(
                stepped(f"agno.{kind}._hooks", name, runs.describe_hooks, optional=True)
                for kind in ("agent", "team")
                for name in HOOKS
            ),
            *(
                stepped("agno.tools.function", f"FunctionCall.{name}", runs.describe_tool, runs.finish_tool)
                for name in ("execute", "aexecute")
            ),
            *(
                stepped("agno.knowledge.knowledge", f"Knowledge.{name}", runs.describe_retrieval, runs.finish_retrieval)
                for name in ("search", "asearch")
            ),
        ]
