"""The programs of `examples/frameworks/` run, and show one trace in which every call has its place."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from tests.docs.blocks import block, run, shape
from tests.genledger.applications import REPOSITORY

PROGRAMS = {
    "ag2_agent": "ag2",
    "agent_framework_agent": "agent_framework",
    "agno_agent": "agno",
    "autogen_agent": "autogen_agentchat",
    "claude_agent": "claude_agent_sdk",
    "crewai_agent": "crewai",
    "dspy_agent": "dspy",
    "google_adk_agent": "google.adk",
    "haystack_agent": "haystack",
    "instructor_agent": "instructor",
    "langgraph_agent": "langchain.agents",
    "livekit_agent": "livekit.agents",
    "llamaindex_agent": "llama_index.core",
    "mcp_agent": "fastmcp",
    "openai_agents_agent": "agents",
    "pipecat_agent": "pipecat",
    "pydantic_ai_agent": "pydantic_ai",
    "semantic_kernel_agent": "semantic_kernel",
    "smolagents_agent": "smolagents",
    "strands_agent": "strands",
}
"""Each program, and the package that it needs."""


def installed(package: str) -> bool:
    """Return whether a package is there, without importing more than the one around it."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def test_every_program_is_run_here() -> None:
    found = {path.stem for path in (REPOSITORY / "examples" / "frameworks").glob("*_agent.py")}
    assert found == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_shows_one_trace_with_every_call_in_its_place(program: str, tmp_path: Path) -> None:
    if not installed(PROGRAMS[program]):
        pytest.skip(f"{PROGRAMS[program]} has an environment of its own: make test-frameworks")
    done = run([sys.executable, "-m", f"examples.frameworks.{program}"], tmp_path, PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    heading = next(number for number, line in enumerate(lines) if line.startswith("trace "))
    tops = [line for line in lines[heading:] if line.startswith(("├── ", "└── "))]
    assert len(tops) == 1, done.stdout
    assert " $" in tops[0], done.stdout


ORDERS = (
    "importlib.import_module(program); genledger.instrument(destinations=[])",
    "genledger.instrument(destinations=[]); importlib.import_module(program)",
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_program_imports_is_patched_alike_before_and_after(program: str, tmp_path: Path) -> None:
    if not installed(PROGRAMS[program]):
        pytest.skip(f"{PROGRAMS[program]} has an environment of its own: make test-frameworks")
    patched = "print({name: sorted(at) for name, at in sorted(load_instrumentors.patched().items())})"
    said = []
    for order in ORDERS:
        imports = "import genledger, importlib; from genledger.setup import load_instrumentors"
        code = f"{imports}; program = 'examples.frameworks.{program}'; {order}; {patched}"
        done = run([sys.executable, "-c", code], tmp_path, PYTHONPATH=str(REPOSITORY))
        assert done.returncode == 0, done.stderr
        assert "genledger" not in done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]


def test_the_trace_in_the_documentation_is_what_the_program_shows(tmp_path: Path) -> None:
    pytest.importorskip("langgraph", reason="langgraph has an environment of its own: make test-frameworks")
    pytest.importorskip("langchain_openai", reason="langchain has an environment of its own: make test-frameworks")
    pytest.importorskip("langchain.agents", reason="langchain 1 has an environment of its own: make test-frameworks")
    program = [sys.executable, "-m", "examples.frameworks.langgraph_agent"]
    done = run(program, tmp_path, PYTHONPATH=str(REPOSITORY), COLUMNS="80")
    assert shape(done.stdout)[1:] == shape(block(REPOSITORY / "docs" / "frameworks.md", "LangGraph").text)
