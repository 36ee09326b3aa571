"""Own prices as Langfuse's model definitions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genledger import pricing
from genledger.cli import app
from standins.langfuse_api import LangfuseApi

pytest.importorskip("langfuse")

PRICES = """
[[price]]
provider = "openai"
model = ["gpt-5.4", "gpt-5.4-2*"]
tier = "batch"
per_million = { input = 1.0, output = 6.0 }

[[price]]
provider = "openai"
model = ["gpt-5.4", "gpt-5.4-2*"]
per_million = { input = 2.0, cache_read = 0.2, output = 12.0 }
above = 272_000
per_million_above = { input = 4.0, cache_read = 0.4, output = 18.0 }

[[price]]
model = "ours-*"
alias = "gpt-4.1-mini"
alias_provider = "openai"
factor = 0.5
valid_from = 2026-01-01

[[price]]
provider = "anthropic"
factor = 0.88

[[price]]
base_url = "http://gpu:8000/*"
free = true
"""


@pytest.fixture
def langfuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[LangfuseApi]:
    with LangfuseApi() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    (tmp_path / "prices.toml").write_text(PRICES)
    options = ["prices", "push", "langfuse", "--prices", str(tmp_path / "prices.toml")]
    yield lambda *more: CliRunner().invoke(app, [*options, *more], prog_name="genledger")
    pricing.configure(None)


def price(definition: dict[str, Any], usage: dict[str, float], tier: str | None = None) -> float:
    """What Langfuse makes of a usage: the first tier, by priority, whose conditions hold, else the default."""
    rest = sorted(definition["pricingTiers"], key=lambda one: one["priority"])
    default = rest.pop(0)
    for one in rest:
        if all(
            tier in given["values"]
            if given.get("source") == "model_parameters"
            else sum(count for name, count in usage.items() if re.search(given["usageDetailPattern"], name))
            > given["value"]
            for given in one["conditions"]
        ):
            default = one
            break
    return float(sum(default["prices"][name] * count for name, count in usage.items()))


def of(langfuse: LangfuseApi, model: str) -> dict[str, Any]:
    found = [one for one in langfuse.models.values() if re.search(one["matchPattern"], model)]
    return found[0]


def test_langfuse_prices_as_we_do(langfuse: LangfuseApi, push: Callable[..., Result]) -> None:
    result = push()
    assert result.exit_code == 0, result.stderr
    for tokens in (1000, 300_000):
        for model in ("gpt-5.4", "GPT-5.4-2026-03-01"):
            there = price(
                of(langfuse, model), {"input": tokens, "input_cached_tokens": 500, "output_reasoning_tokens": 7}
            )
            usage = {"input": tokens, "cache_read": 500, "reasoning": 7}
            (ours,) = pricing.backfill([pricing.Recorded("openai", model, usage, None, time.time_ns())])
            assert isinstance(ours, pricing.Cost)
            assert there == pytest.approx(ours.amount)
    assert price(of(langfuse, "gpt-5.4"), {"input": 1000, "output": 10}, "batch") == pytest.approx(0.00106)
    ours = price(of(langfuse, "ours-7"), {"input": 1_000_000, "output": 1_000_000})
    assert ours == pytest.approx((0.4 + 1.6) * 0.5)
    assert of(langfuse, "ours-7")["startDate"].startswith("2026-01-01")
    assert not re.search(of(langfuse, "gpt-5.4")["matchPattern"], "gpt-5.4-mini")


def test_a_second_push_replaces_the_first(langfuse: LangfuseApi, push: Callable[..., Result]) -> None:
    push()
    once = dict(langfuse.models)
    assert len(once) > 100  # the corrections of the table, too
    push()
    assert langfuse.models == once


def test_what_langfuse_cannot_match_is_listed(langfuse: LangfuseApi, push: Callable[..., Result]) -> None:
    result = push("--dry-run")
    assert result.exit_code == 0
    assert "left out: anthropic: Langfuse matches by the name of the model alone" in result.stdout
    assert "left out: http://gpu:8000/*: Langfuse matches" in result.stdout
    assert "gpt-5.4: input 2, output 12 USD per million tokens" in result.stdout
    assert langfuse.models == {}


def test_a_server_that_refuses_is_one_line(
    langfuse: LangfuseApi, push: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-lf-other")
    result = push()
    assert result.exit_code == 1
    assert "answers 401: Invalid credentials" in result.stderr
    assert result.stderr.count("\n") == 1
