"""The table of environments that the contenders run in, and how they are made.

Every contender has an environment of its own under `.venvs/bench-*`, so that no two instrumentations meet and
each has the client versions it supports. An environment is made again when its requirements change.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / ".venvs"

_CLIENTS = ("openai==3.54.0", "anthropic==2.12.0")
_SDK = (
    "opentelemetry-api==1.45.1",
    "opentelemetry-sdk==1.45.1",
    "opentelemetry-exporter-otlp==1.45.1",
)

_LANGGRAPH = ("langgraph==1.2.24", "langchain-core==1.8.3")
_OPENAI_AGENTS = ("openai-agents==0.24.0", "openai==3.54.0")

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "reference": (*_CLIENTS, *_SDK),
    "genledger": (*_CLIENTS, *_SDK, "."),
    "official": (
        *_CLIENTS,
        *_SDK,
        "opentelemetry-instrumentation-genai-openai==1.3b0",
        "opentelemetry-instrumentation-genai-anthropic==1.3b0",
    ),
    # It imports httpx without asking for it, and modules that newer versions of its core do not have.
    "openai-v2": (
        *_CLIENTS,
        *_SDK,
        "httpx",
        "opentelemetry-util-genai==1.1b0",
        "opentelemetry-instrumentation-openai-v2==2.4b0",
    ),
    "openinference": (
        *_CLIENTS,
        *_SDK,
        "openinference-instrumentation-openai==0.1.66",
        "openinference-instrumentation-anthropic==3.1.0",
    ),
    # OpenLIT 1.45 pins openai below 3 and anthropic below 1; newer clients would bring an old OpenLIT.
    "openlit": ("openai==2.54.0", "anthropic==0.125.0", *_SDK, "openlit==1.45.0"),
    # Newer Logfire needs a certifi that the package index did not have on 2026-11-21.
    "logfire": (*_CLIENTS, *_SDK, "logfire==5.2.0"),
    "langgraph": (*_LANGGRAPH, *_SDK),
    "langgraph-genledger": (*_LANGGRAPH, *_SDK, "."),
    "langgraph-openinference": (*_LANGGRAPH, *_SDK, "openinference-instrumentation-langchain==0.1.80"),
    "openai-agents": (*_OPENAI_AGENTS, *_SDK),
    "openai-agents-genledger": (*_OPENAI_AGENTS, *_SDK, "."),
    "openai-agents-openinference": (*_OPENAI_AGENTS, *_SDK, "openinference-instrumentation-openai-agents==2.6.0"),
    "langfuse": (*_CLIENTS, *_SDK, "langfuse==5.0.4"),
}
"""What each environment holds. `.` is this project, built and installed as a user would get it."""


class EnvironmentMissing(Exception):
    """An environment could not be made; the message says why."""


@dataclass(frozen=True)
class Environment:
    """One environment: its name in the table and its interpreter."""

    name: str

    @property
    def home(self) -> Path:
        return ENVIRONMENTS / f"bench-{self.name}"

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    def variables(self, extra: dict[str, str]) -> dict[str, str]:
        """The process variables for a contender: the caller's, without those that would configure telemetry."""
        foreign = ("OTEL_", "GENLEDGER_", "LANGFUSE_", "LOGFIRE_", "OPENINFERENCE_", "ANTHROPIC_", "OPENAI_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**kept, **extra}

    def make(self, *, rebuild: bool = False) -> None:
        """Make the environment if it is missing or its requirements changed.

        This project itself is installed anew each time: what is measured is what stands in the tree.

        Raises:
            EnvironmentMissing: An installer failed; the message has its last lines.
        """
        requirements = REQUIREMENTS[self.name]
        packages = [requirement for requirement in requirements if requirement != "."]
        stamp = self.home / "requirements.sha256"
        wanted = hashlib.sha256("\n".join([sys.version, *packages]).encode()).hexdigest()
        if rebuild or not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(self.home, ignore_errors=True)
            self._create(packages)
            stamp.write_text(wanted)
        if "." in requirements:
            self._install([str(ROOT)], again="genledger")

    def _create(self, packages: Sequence[str]) -> None:
        uv = _uv()
        if uv:
            _run(self.name, [*uv, "venv", "--quiet", "--python", sys.executable, str(self.home)])
        else:
            _run(self.name, [sys.executable, "-m", "venv", str(self.home)])
        self._install(packages)

    def _install(self, packages: Sequence[str], again: str | None = None) -> None:
        uv = _uv()
        if uv:
            command = [*uv, "pip", "install", "--quiet", "--python", str(self.python), "--compile-bytecode"]
            command += ["--reinstall-package", again] if again else []
        else:
            command = [str(self.python), "-m", "pip", "install", "--quiet"]
            if again:
                _run(self.name, [str(self.python), "-m", "pip", "uninstall", "--quiet", "--yes", again])
        _run(self.name, [*command, *packages])


def _uv() -> list[str]:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    return [found] if found else []


def _run(environment: str, command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-6:])
        raise EnvironmentMissing(f"environment bench-{environment} could not be made:\n{reason}")
