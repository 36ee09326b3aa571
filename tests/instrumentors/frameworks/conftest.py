"""What every test of a framework starts with: a model that calls a tool, and Genledger beside the framework."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import REPLIES
from tests.instrumentors.frameworks.runs import Record, nothing_left, ours, refusing
from tests.instrumentors.telemetry import Telemetry

import genledger
from genledger_semconv.checker import assert_clean

STORAGE = TemporaryDirectory(prefix="genledger-crewai-")
"""Where CrewAI keeps files: it asks when it is imported, before any fixture."""
os.environ["CREWAI_STORAGE_DIR"] = STORAGE.name


def at_home(directory: Path) -> dict[str, str]:
    """Return the variables by which frameworks keep to themselves, and to a directory."""
    return {
        "OPENAI_API_KEY": "demo",
        "AGNO_TELEMETRY": "false",
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_TRACING_ENABLED": "false",
        "CREWAI_TESTING": "true",
        "CREWAI_STORAGE_DIR": str(directory),
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    }


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frameworks report runs to their makers, ask whether they may, load prices and keep files in the user's home."""
    for name, value in at_home(Path(STORAGE.name)).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def replies() -> Mapping[str, str]:
    """What the model says: asked `QUESTION`, it calls the first tool, and then says this."""
    return REPLIES


@pytest.fixture
def provider(replies: Mapping[str, str]) -> Iterator[DemoProvider]:
    """A model on loopback."""
    with DemoProvider(replies=replies) as provider:
        yield provider


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Genledger beside the framework of the module."""
    made: Record = request.module.record
    return made


@pytest.fixture
def telemetry(record: Record) -> Iterator[Telemetry]:
    """Genledger beside the framework; what it said is checked against the registry in the end."""
    with record() as telemetry, nothing_left(telemetry):
        yield telemetry
        more = ["gen_ai.agent.id"]  # than the conventions ask of a run
        assert_clean(ours(telemetry.spans), telemetry.metrics, telemetry.logs, allow=more)


@pytest.fixture
def refused(record: Record) -> Iterator[Telemetry]:
    """As `telemetry`, but of all that the test asks as the tenant "acme", a budget refuses what follows a request."""
    with (
        refusing(record, tenant="acme", requests=1, per="day") as telemetry,
        genledger.attribution(tenant="acme"),
    ):
        yield telemetry
