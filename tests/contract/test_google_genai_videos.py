"""Videos of Google's client, which only some of its versions make with the Gemini API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.row import at_least
from tests.contract.rows.google_genai import PROMPT, make
from tests.contract.server import Reply, Server, json_reply, serving
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("google.genai")
pytestmark = pytest.mark.filterwarnings("ignore:The generate_videos method:DeprecationWarning")

VEO = "veo-3.1-generate-preview"
GEMINIS = f"models/{VEO}/operations/o1"
VERTEXS = f"projects/p/locations/us-central1/publishers/google/models/{VEO}/operations/o1"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["google-genai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture(params=[False, True], ids=["gemini", "vertex"])
def vertex(request: pytest.FixtureRequest) -> bool:
    """Which of Google's two platforms makes the videos."""
    if not request.param and at_least("google-genai", 3):
        pytest.skip("this version makes no videos with the Gemini API")
    return bool(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def client(request: pytest.FixtureRequest, server: Server, vertex: bool) -> Any:
    from google.oauth2.credentials import Credentials

    place = {"vertexai": True, "project": "p", "location": "us-central1"}
    given = {**place, "credentials": Credentials(token="t")} if vertex else {}  # type: ignore[no-untyped-call]
    made = make(server.url, request.param, 0, **given).kept
    return made.aio if request.param else made


def ended(vertex: bool, count: int, **more: Any) -> Reply:
    """The answer about an operation that has ended, with so many videos."""
    made = {"videos": [{"gcsUri": "gs://b/v.mp4"}] * count}
    samples = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": "https://v"}}] * count}}
    name = VERTEXS if vertex else GEMINIS
    return json_reply({"name": name, "done": True, **(more or {"response": made if vertex else samples})})


@pytest.mark.parametrize(
    ("config", "price"),
    [
        ({"duration_seconds": 6, "number_of_videos": 2}, 2 * 6 * 0.4),
        ({}, 2 * 8 * 0.4),
        ({"resolution": "4k"}, 2 * 8 * 0.6),
    ],
)
async def test_videos_are_priced_by_their_seconds_when_the_operation_is_known_to_have_ended(
    client: Any, server: Server, telemetry: Telemetry, vertex: bool, config: dict[str, Any], price: float
) -> None:
    from google.genai import types

    if not config.keys() <= types.GenerateVideosConfig.model_fields.keys():
        pytest.skip("this version has no resolutions")
    waiting = json_reply({"name": VERTEXS if vertex else GEMINIS})
    server.will(waiting, waiting, ended(vertex, 2))
    with genledger.attribution(tenant="asker"):
        try:
            begun = await now(client.models.generate_videos(model=VEO, prompt=PROMPT, config=config))
        except ValueError:
            pytest.skip("this version has no resolutions of the Gemini API")
        assert not telemetry.spans
    begun = await now(client.operations.get(begun))
    assert [span.name for span in telemetry.spans] == ["fetch_response"]
    found = await now(client.operations.get(begun))
    assert len(found.response.generated_videos) == 2
    said = telemetry.attributes_of(f"generate_content {VEO}")
    assert said["genledger.tenant.id"] == "asker"
    assert said["gen_ai.response.id"] == (VERTEXS if vertex else GEMINIS)
    assert said["genledger.cost.amount"] == pytest.approx(price)
    assert said["genledger.outcome"] == "success"
    fetched = [attributes_of(span) for span in telemetry.spans if span.name == "fetch_response"]
    assert all("genledger.cost.amount" not in one for one in fetched)
    assert len(fetched) == 2


@pytest.mark.parametrize(
    ("more", "outcome"),
    [({"error": {"code": 3, "message": f"No: {PROMPT}"}}, "error"), ({"response": {}}, "success")],
    ids=["failed", "filtered"],
)
async def test_an_operation_without_videos_costs_nothing(
    client: Any, server: Server, telemetry: Telemetry, vertex: bool, more: dict[str, Any], outcome: str
) -> None:
    server.will(json_reply({"name": VERTEXS if vertex else GEMINIS}), ended(vertex, 0, **more))
    begun = await now(client.models.generate_videos(model=VEO, prompt=PROMPT))
    await now(client.operations.get(begun))
    said = telemetry.attributes_of(f"generate_content {VEO}")
    assert said["genledger.outcome"] == outcome
    assert said.get("error.type") == ("3" if outcome == "error" else None)
    assert "genledger.cost.amount" not in said
    assert telemetry.attributes_of("fetch_response")["genledger.outcome"] == "success"


async def test_seconds_without_sound_are_counted_apart(
    client: Any, server: Server, telemetry: Telemetry, vertex: bool
) -> None:
    from google.genai import types

    if not vertex or "generate_audio" not in types.GenerateVideosConfig.model_fields:
        pytest.skip("the sound is not asked for")
    server.will(ended(vertex, 1))
    config = {"generate_audio": False}
    await now(client.models.generate_videos(model=VEO, prompt=PROMPT, config=config))
    assert telemetry.attributes["genledger.usage.silent_second"] == 8
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_rate"


async def test_budgets_reserve_the_seconds_that_are_asked_for(client: Any, server: Server, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nper="day"\nusd=4.7\n')
    config = {"duration_seconds": 6, "number_of_videos": 2}  # 2 × 6 × 0.4 USD
    limited = instrumented(libraries=["google-genai"], budgets=str(rules), budget_store="memory:")
    with limited, pytest.raises(genledger.BudgetExceeded):
        await now(client.models.generate_videos(model=VEO, prompt=PROMPT, config=config))
    assert not server.requests
