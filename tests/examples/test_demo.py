"""The demo runs as it stands, and what it reports is what the provider charged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from examples.demo.story import TENANTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from genledger.ledger import Ledger, queries
from genledger.ledger.spending import Selection

ROOT = Path(__file__).parents[2]

RUN = """
import json
import os
import sys

for name in os.environ["NOT_INSTALLED"].split():
    sys.modules.setdefault(name, None)

from dataclasses import asdict
from examples.demo.__main__ import demo, scripted_provider

with scripted_provider() as running:
    demo(running)
with open("journal.json", "w") as file:
    json.dump([asdict(exchange) for exchange in running.requests], file)
"""

USD_PER_MILLION = {
    "gpt-4.1-mini-2025-04-14": {"input": 0.40, "cache_read": 0.10, "output": 1.60},
    "gpt-5-mini-2025-08-07": {"input": 0.25, "cache_read": 0.025, "output": 2.00},
    "claude-haiku-4-5-20251001": {"input": 1.00, "cache_read": 0.10, "cache_write": 1.25, "output": 5.00},
    "text-embedding-3-small": {"input": 0.02},
    "gemini-2.5-flash": {"input": 0.30, "cache_read": 0.03, "output": 2.50},
    "amazon.nova-lite-v1:0": {"input": 0.06, "output": 0.24},
}
"""The providers' own price pages, standard tier."""


PROVIDERS = ("openai", "anthropic", "gcp.gemini", "aws.bedrock")


@dataclass(frozen=True)
class Run:
    ledger: Path
    journal: list[dict[str, Any]]
    output: str
    errors: str


def run(arguments: list[str], directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LANGFUSE_", "GENLEDGER_", "OPENAI_"))}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        arguments,
        cwd=directory,
        env=kept | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def with_dependencies(names: Iterable[str]) -> set[str]:
    """Return distributions with all that they need."""
    found: set[str] = set()
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            needs = [Requirement(one) for one in metadata.requires(name) or ()]
            left += [canonicalize_name(one.name) for one in needs if one.marker is None or one.marker.evaluate()]
    return found


def not_installed() -> list[str]:
    """Return the modules here that the demo's own environment (`make demo`) lacks."""
    lines = (ROOT / "examples" / "demo" / "requirements.txt").read_text().splitlines()
    listed = [Requirement(line).name for line in lines if line and not line.startswith("#")]
    there = with_dependencies(["genledger", *listed]) | {"chromadb"}
    homes = metadata.packages_distributions()
    return [name for name, of in homes.items() if there.isdisjoint(map(canonicalize_name, of))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("demo")
    (directory / "genledger-demo.db").write_text("what an earlier run left")
    done = run([sys.executable, "-c", RUN], directory, NOT_INSTALLED=" ".join(not_installed()))
    assert done.returncode == 0, done.stderr
    journal = json.loads((directory / "journal.json").read_text())
    return Run(directory / "genledger-demo.db", journal, done.stdout, done.stderr)


def tokens(usage: dict[str, Any]) -> dict[str, int]:
    """A usage block of any of the wire formats, in buckets that do not overlap."""
    if "cache_read_input_tokens" in usage:
        return {
            "input": usage["input_tokens"],
            "cache_read": usage["cache_read_input_tokens"],
            "cache_write": usage["cache_creation_input_tokens"],
            "output": usage["output_tokens"],
        }
    if "promptTokenCount" in usage:
        cached = usage["cachedContentTokenCount"]
        return {
            "input": usage["promptTokenCount"] - cached,
            "cache_read": cached,
            "output": usage["candidatesTokenCount"],
        }
    if "inputTokens" in usage:
        return {"input": usage["inputTokens"], "output": usage["outputTokens"]}
    read = usage.get("prompt_tokens", usage.get("input_tokens"))
    details = usage.get("prompt_tokens_details", usage.get("input_tokens_details", {}))
    cached = details.get("cached_tokens", 0)
    written = usage.get("completion_tokens", usage.get("output_tokens", 0))
    return {"input": read - cached, "cache_read": cached, "output": written}


def charged(exchange: dict[str, Any]) -> float:
    if exchange["usage"] is None:
        return 0.0
    rates = USD_PER_MILLION[exchange["model"]]
    return sum(count * rates[bucket] for bucket, count in tokens(exchange["usage"]).items() if count) / 1e6


def whose(exchange: dict[str, Any]) -> tuple[str, str]:
    """The tenant and feature that a request was made for, read from what it says."""
    said = json.dumps(exchange["body"])
    for tenant in TENANTS:
        letters = [ticket.text for ticket in tenant.tickets]
        others = [*tenant.passages, *(question.text for question in tenant.questions)]
        if any(f"Compare: {json.dumps(text)[1:-1]}" in said for text in letters):
            return tenant.name, "compare"
        if any(json.dumps(text)[1:-1] in said for text in letters):
            return tenant.name, "copilot"
        if any(json.dumps(text)[1:-1] in said for text in others):
            return tenant.name, "search"
    raise AssertionError(f"nobody asked for {said}")


def sums(journal: list[dict[str, Any]], key: Any) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for exchange in journal:
        if exchange["usage"] is not None:
            totals[key(exchange)] += charged(exchange)
    return dict(totals)


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("tenant", lambda exchange: whose(exchange)[0]),
        ("feature", lambda exchange: whose(exchange)[1]),
        ("model", lambda exchange: exchange["model"]),
    ],
)
def test_spend_is_what_the_provider_charged(finished: Run, by: queries.Dimension, key: Any) -> None:
    with Ledger(finished.ledger).reading() as connection:
        rows = queries.spending(connection, by)
    spent = {row.key: row.cost_usd for row in rows if row.cost_usd is not None}
    assert spent == pytest.approx(sums(finished.journal, key), abs=1e-12)
    assert sum(row.unpriced for row in rows) == 0


def test_every_request_is_in_the_ledger_once_with_its_retries_and_failures(finished: Run) -> None:
    statuses = [exchange["status"] for exchange in finished.journal]
    assert (statuses.count(429), statuses.count(500), statuses.count(503)) == (2, 1, 1)
    with Ledger(finished.ledger).reading() as connection:
        rows = queries.spending(connection, "provider")
        retries = queries.retries(connection)
    assert sum(row.calls for row in rows if row.key in PROVIDERS) == len(statuses) - 2
    assert sum(row.errors for row in rows) == 2
    assert (retries.calls, retries.causes) == (2, {"429": 2})


def test_an_accepted_draft_costs_what_all_drafts_cost_by_how_many_were_accepted(finished: Run) -> None:
    drafts = [exchange for exchange in finished.journal if whose(exchange)[1] == "copilot"]
    accepted = sum(ticket.accepted for tenant in TENANTS for ticket in tenant.tickets)
    with Ledger(finished.ledger).reading() as connection:
        (cost,) = queries.outcome_costs(connection, "feature")
    assert (cost.name, cost.feature, cost.outcomes) == ("draft_accepted", "copilot", accepted)
    assert cost.cost_per_outcome == pytest.approx(sum(map(charged, drafts)) / accepted, abs=1e-12)


def test_four_providers_are_compared_at_the_same_task(finished: Run) -> None:
    with Ledger(finished.ledger).reading() as connection:
        rows = queries.spending(connection, "provider", Selection(feature="compare"))
    letters = sum(len(tenant.tickets) for tenant in TENANTS)
    assert {row.key: row.calls for row in rows} == dict.fromkeys(PROVIDERS, letters)
    assert {row.key: row.errors for row in rows} == {**dict.fromkeys(PROVIDERS, 0), "gcp.gemini": 1}
    assert all(row.cost_usd and row.latency_s for row in rows)
    table = finished.output.partition("The same summaries, by provider")[2].partition("trace ")[0]
    assert all(name in table for name in (*PROVIDERS, "latency", "errors", "cost"))


def test_the_tables_the_tree_and_the_next_steps_are_printed(finished: Run) -> None:
    total = sum(map(charged, finished.journal))
    for text in (
        "Spend by feature",
        "Spend by tenant",
        "Spend by model",
        f"${total:.6f}",
        "draft_accepted",
        "draft_reply",
        "tool look_up",
        "chat claude-haiku-4-5-20251001",
        "report --by tenant --since 7d --ledger genledger-demo.db",
        "LANGFUSE_PUBLIC_KEY",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ):
        assert text in finished.output
    assert finished.errors == ""


def test_every_line_fits_into_a_hundred_columns(finished: Run) -> None:
    tables = finished.output.partition("Look further")[0]
    assert max(map(len, tables.splitlines())) <= 100


def test_ten_lines_are_recorded_under_the_launcher(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    done = run(
        [str(launcher), sys.executable, str(ROOT / "examples" / "ten_lines.py")],
        tmp_path,
        GENLEDGER_LEDGER=str(ledger),
        OTEL_PYTHON_DISTRO="genledger",
    )
    assert (done.returncode, done.stderr) == (0, "")
    with Ledger(ledger).reading() as connection:
        rows = queries.spending(connection, "model")
    assert {row.key for row in rows} == {
        "gpt-4.1-mini-2025-04-14",
        "text-embedding-3-small",
        "gpt-5-mini-2025-08-07",
    }
    assert all(row.priced == 1 for row in rows)


def test_a_budget_refuses_a_call_before_the_provider_is_asked(tmp_path: Path) -> None:
    script = str(ROOT / "examples" / "budget.py")
    done = run([sys.executable, script], tmp_path, GENLEDGER_LEDGER=str(tmp_path / "ledger.db"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert sum("was refused" in line for line in lines) == 2
    admitted = sum("so far" in line for line in lines)
    assert lines[-1] == f"The provider was asked {admitted} times."
