"""The same question to the ledger and to Langfuse has the same answer, for what both know."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import app
from genledger.context.attribution import Attribution
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger
from genledger.pricing.usage import Usage
from standins.langfuse_api import LangfuseApi

from ...samples import a_call

pytest.importorskip("langfuse")

BEGIN = datetime(2026, 10, 20, tzinfo=UTC)
PERIOD = ("--since", "2026-10-20", "--until", "2026-10-28")

Run = Callable[..., Result]


def made() -> list[CallRecord]:
    chance = random.Random(23)
    calls = []
    for number in range(300):
        failed = chance.random() < 0.2
        calls.append(
            a_call(
                None if chance.random() < 0.1 else chance.randrange(1, 1000) / 1e4,
                started_ns=int((BEGIN + timedelta(seconds=chance.randrange(8 * 86_400))).timestamp()) * 10**9,
                response_model=chance.choice(("gpt-4o", "claude-sonnet-4-5")),
                outcome="error" if failed else "success",
                duration_s=chance.randrange(1, 90) / 10,
                usage=Usage(input=chance.randrange(1000), cache_read=50, output=chance.randrange(200), reasoning=7),
                attribution=Attribution(
                    tenant=chance.choice(("acme", "globex", None)),
                    feature=chance.choice(("search", "draft")),
                    user=f"u{number % 4}",
                    prompt_name="reply",
                    prompt_version=chance.choice(("1", "2")),
                    tags=tuple(chance.sample(("red", "green"), chance.randrange(3))),
                    metadata={"plan": chance.choice(("pro", "free"))},
                ),
            )
        )
    return calls


def observation(call: CallRecord) -> dict[str, Any]:
    """What Langfuse has of a call, as Genledger sends it."""
    who, usage = call.attribution, call.usage
    assert usage is not None
    tags = [*who.tags, f"feature:{who.feature}", *([f"tenant:{who.tenant}"] if who.tenant else [])]
    return {
        "startTime": datetime.fromtimestamp(call.started_ns / 1e9, UTC),
        "type": "GENERATION",
        "level": "ERROR" if call.outcome == "error" else "DEFAULT",
        "providedModelName": call.response_model,
        "promptName": who.prompt_name,
        "promptVersion": who.prompt_version,
        "tags": tags if call.cost is not None else [*tags, "unpriced"],
        "userId": who.user,
        "metadata": {"tenantId": who.tenant, "feature": who.feature, **who.metadata},
        "latency": call.duration_s * 1000,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalCost": call.cost.amount if call.cost is not None else None,
    }


CALLS = made()


@pytest.fixture(scope="module")
def langfuse() -> Iterator[LangfuseApi]:
    agent = {**observation(CALLS[0]), "providedModelName": None, "type": "AGENT", "totalCost": None}
    with LangfuseApi(observations=[*map(observation, CALLS), agent]) as server:
        yield server


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("langfuse") / "ledger.db"
    Ledger(path, max_age_days=None).write(CALLS)
    return path


@pytest.fixture
def run(langfuse: LangfuseApi, ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in {**langfuse.environment, "GENLEDGER_LEDGER": str(ledger)}.items():
        monkeypatch.setenv(name, value)
    return lambda *options: CliRunner().invoke(app, ["query", *options], prog_name="genledger")


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [
        {key: pytest.approx(value) if isinstance(value, float) else value for key, value in row.items()}
        for row in json.loads(result.stdout)["rows"]
    ]


SUMS = "cost,calls,tokens,input_tokens,output_tokens,errors,error_rate,unpriced,unpriced_share,tokens_per_call"


@pytest.mark.parametrize(
    "options",
    [
        ("-m", SUMS),
        ("-m", SUMS, "--by", "model"),
        ("-m", SUMS, "--by", "tenant"),
        ("-m", SUMS, "--by", "feature,model,tenant"),
        ("-m", SUMS, "--by", "tag,feature"),
        ("-m", "latency", "--by", "prompt_name,prompt_version"),
        ("-m", SUMS, "--every", "day"),
        ("-m", SUMS, "--every", "week", "--by", "feature"),
        ("-m", "cost,calls,latency", "--every", "day", "--tz", "Asia/Kathmandu"),
        ("-m", "cost", "--every", "day", "--tz", "Europe/Berlin", "--by", "tenant"),
        ("-m", "cost", "--where", "tenant=acme"),
        ("-m", "cost", "--where", "tenant=acme,globex", "--where", "model!=gpt-4o"),
        ("-m", "cost", "--where", "feature~dr*", "--where", "user=u1,u2"),
        ("-m", "cost", "--where", "metadata.plan=pro", "--where", "tag!=red"),
        ("-m", "cost", "--by", "tag", "--where", "tag=red"),
        ("-m", "cost,calls", "--by", "model", "--sort", "-calls", "--top", "1"),
    ],
)
def test_both_have_the_same_numbers(run: Run, options: tuple[str, ...]) -> None:
    question = (*options, *PERIOD, "--json")
    assert rows(run(*question, "--from", "langfuse")) == rows(run(*question))


def test_both_compare_with_the_period_before(run: Run) -> None:
    question = ("-m", "cost,calls", "--by", "feature", "--since", "2026-10-24", "--until", "2026-10-28")
    options = (*question, "--compare", "previous", "--json")
    assert rows(run(*options, "--from", "langfuse")) == rows(run(*options))


def test_metrics_of_the_same_observations_are_one_request(run: Run, langfuse: LangfuseApi) -> None:
    langfuse.queries.clear()
    run("-m", "cost,calls,tokens", "--by", "model", *PERIOD, "--from", "langfuse", "--json")
    assert len(langfuse.queries) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("-m", "cost_per_outcome"), "error: Langfuse does not measure cost_per_outcome; it has calls, cost, "),
        (("--by", "user"), "error: Langfuse cannot group by user; it can by model, prompt_name, "),
        (("--by", "metadata.plan"), "error: Langfuse cannot group by metadata.plan; "),
        (("-m", "latency", "--by", "tenant"), "error: Langfuse groups by all tags of an observation together: latency"),
        (("--where", "tenant="), "error: Langfuse cannot filter by tenant=: it does not find what has no tenant"),
        (("--where", "model~g*4*o"), "error: Langfuse cannot filter by model~g*4*o; it takes one glob"),
        (("--where", "provider=openai"), "error: Langfuse cannot filter by provider=openai; it can by "),
        (("--every", "hour", "--tz", "Asia/Kolkata"), "error: this would be 192 requests to Langfuse, which cuts"),
    ],
)
def test_what_langfuse_cannot_say_is_said(run: Run, options: tuple[str, ...], said: str) -> None:
    result = run(*options, *PERIOD, "--from", "langfuse")
    assert result.exit_code == 1
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


def test_as_many_rows_as_langfuse_returns_at_most_are_no_answer(run: Run, langfuse: LangfuseApi) -> None:
    one = observation(CALLS[0])
    many = [{**one, "startTime": BEGIN - timedelta(days=9), "promptName": str(number)} for number in range(1000)]
    langfuse.observations += many
    result = run("--by", "prompt_name", "--since", "2026-10-01", "--until", "2026-10-15", "--from", "langfuse")
    del langfuse.observations[-1000:]
    assert result.exit_code == 1
    assert "returns 1000 rows at most" in result.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LANGFUSE_PUBLIC_KEY": "", "LANGFUSE_SECRET_KEY": ""}, "error: no Langfuse project is configured; set "),
        ({"LANGFUSE_SECRET_KEY": ""}, "error: Langfuse: LANGFUSE_SECRET_KEY is not set"),
        ({"LANGFUSE_SECRET_KEY": "sk-lf-other"}, "answers 401: Invalid credentials. Confirm"),
        ({"LANGFUSE_BASE_URL": "http://127.0.0.1:9"}, "error: Langfuse at http://127.0.0.1:9 does not answer: "),
    ],
)
def test_a_project_that_cannot_be_asked_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = run(*PERIOD, "--from", "langfuse")
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
