from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from genledger import pricing
from genledger.cli.prices import app
from genledger.engine.record import CallRecord
from genledger.ledger import Ledger
from genledger.pricing import Usage, table_update

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `genledger prices` with no prices, no stored table and no ledger but the test's own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("GENLEDGER_PRICES", raising=False)
    yield lambda *args: CliRunner().invoke(app, args)
    pricing.configure(None)


def test_show_prints_rates_per_million_with_source_and_date(run: Run) -> None:
    result = run("show", "gpt-5.4", "--at", "2026-11-20")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert "gpt-5.4 at openai, 2026-11-20 00:00 UTC" in result.output
    assert "above 272,000 tokens" in result.output
    assert ["input", "2.5", "5", "million", "tokens"] in lines
    assert ["cache_read", "0.25", "0.5", "million", "tokens"] in lines
    assert ["web_search", "0.01", "0.01", "web", "search"] in lines
    assert "source: price table, 2026-" in result.output


def test_show_gives_the_price_of_another_day_tier_and_provider(run: Run) -> None:
    assert "10  million" in run("show", "o3", "--at", "2025-06-01").output
    assert "1.25" in run("show", "gpt-5.4", "--tier", "batch").output
    assert "at azure" in run("show", "gpt-4.1", "--provider", "azure.ai.openai").output
    assert "region us" in run("show", "claude-opus-5", "--region", "us").output


def test_show_as_json_has_rates_per_token(run: Run) -> None:
    found = json.loads(run("show", "gpt-4o", "--json").output)
    assert found["bands"][0]["rates"]["input"] == pytest.approx(2.5e-6)
    assert (found["provider"], found["source"]) == ("openai", "table")


def test_show_of_a_free_model_says_so(run: Run) -> None:
    assert "free of charge" in run("show", "omni-moderation-latest", "--provider", "openai").output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("gpt-9-future",), "prices update"),
        (("no-such-thing",), "--provider"),
        (("gpt-4o", "--provider", "nobody"), "--provider"),
    ],
)
def test_show_of_what_has_no_price_says_what_to_do_and_exits_with_1(run: Run, args: tuple[str, ...], says: str) -> None:
    result = run("show", *args)
    assert result.exit_code == 1
    assert says in result.output
    assert json.loads(run("show", *args, "--json").output)["unpriced"].startswith("unknown_")


def test_show_with_a_date_that_is_none_exits_with_2(run: Run) -> None:
    result = run("show", "gpt-4o", "--at", "soon")
    assert result.exit_code == 2
    assert "2026-03-01" in result.output


def test_show_uses_the_users_own_prices(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = "gpt-4o"\nper_million = { input = 1.5 }\nnote = "contract"\n')
    result = run("show", "gpt-4o", "--prices", str(file))
    assert "1.5" in result.output
    assert "your own prices" in result.output
    assert "note: contract" in result.output


@pytest.mark.parametrize(
    ("model", "shown", "notes"),
    [
        ("mine-7b", "mine-7b at any provider", ""),
        ("their-7b", "their-7b at vllm", "note: own_price_at:sglang"),
        ("team/any-7b", "team/any-7b at vllm", ""),
        ("gpt-4o", "gpt-4o at openai", "note: own_price_at:vllm"),
    ],
)
def test_show_finds_an_own_price_without_a_provider(
    run: Run, tmp_path: Path, model: str, shown: str, notes: str
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(
        "\n".join(
            f"[[price]]\n{names}\nper_million = {{ input = 1.5, output = 3 }}"
            for names in (
                'model = "mine-7b"',
                'provider = ["vllm", "sglang"]\nmodel = "their-7b"',
                'provider = "vllm"\nmodel = "team/*"',
                'provider = "vllm"\nmodel = "gpt-4o"',
            )
        )
    )
    result = run("show", model, "--prices", str(file))
    assert result.exit_code == 0
    assert result.output.startswith(shown)
    assert ("source: your own prices" in result.output) is (model != "gpt-4o")
    assert (notes in result.output) if notes else ("own_price_at" not in result.output)


def test_check_counts_the_prices_of_a_good_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nprovider = "azure"\ndeployment = "prod"\nalias = "gpt-4.1-mini"\n')
    result = run("check", str(file))
    assert (result.exit_code, result.output.strip()) == (0, f"{file}: 1 price, no mistakes")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[price]]\nmodel = "m"\nper_milion = { input = 1 }\n', "prices.toml:3: per_milion: is not a known key"),
        (
            '[[price]]\nmodel = "m"\nfree = true\n\n[[price]]\nmodel = "n"\nalias = "gpt-4.1-mimi"\n',
            "prices.toml:7: alias: 'gpt-4.1-mimi' has no known price",
        ),
    ],
)
def test_check_names_a_mistake_and_exits_with_1(run: Run, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(text)
    result = run("check", str(file))
    assert result.exit_code == 1
    assert says in result.output


def test_check_of_a_file_that_is_not_there_exits_with_1(run: Run, tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "nowhere.toml"))
    assert result.exit_code == 1
    assert "cannot be read" in result.output


def test_update_without_a_network_says_so_and_changes_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx2

    def unreachable(*_: Any, **__: Any) -> Any:
        raise httpx2.ConnectError("name or service not known")

    monkeypatch.setattr(httpx2, "get", unreachable)
    result = run("update")
    assert result.exit_code == 1
    assert "cannot fetch the price table" in result.output
    assert "Nothing was changed" in result.output
    assert not table_update.location().exists()


def test_backfill_prices_what_it_can_and_says_what_changed(
    run: Run, tmp_path: Path, make_entry: Callable[..., CallRecord]
) -> None:
    path = tmp_path / "ledger.db"
    known = make_entry(usd=None, response_model="gpt-4o-2024-08-06", usage=Usage(input=1_000_000))
    still = make_entry(usd=None, response_model="gpt-9", usage=Usage(input=1_000))
    Ledger(path).write([known, still, make_entry()])

    trial = run("backfill", "--ledger", str(path), "--dry-run")
    assert "1 call would be priced: $2.5000" in trial.output
    assert len(list(Ledger(path).unpriced())) == 2

    result = run("backfill", "--ledger", str(path))
    assert result.exit_code == 0
    assert "1 call now priced: $2.5000" in result.output
    assert "gpt-4o-2024-08-06 at openai" in result.output
    assert "gpt-9 at openai (unknown_model)" in result.output
    assert [entry.response_model for entry in Ledger(path).unpriced()] == ["gpt-9"]

    again = json.loads(run("backfill", "--ledger", str(path), "--json").output)
    assert again["calls"] == {}
    assert again["unpriced"] == {"gpt-9 at openai (unknown_model)": 1}


def test_backfill_knows_the_users_own_prices(run: Run, tmp_path: Path, make_entry: Callable[..., CallRecord]) -> None:
    path, file = tmp_path / "ledger.db", tmp_path / "prices.toml"
    file.write_text('[[price]]\ndeployment = "prod"\nalias = "gpt-4o"\n')
    entry = make_entry(usd=None, provider="azure.ai.openai", request_model="prod", response_model=None)
    Ledger(path).write([entry])
    result = run("backfill", "--ledger", str(path), "--prices", str(file))
    assert "1 call now priced" in result.output
    assert list(Ledger(path).unpriced()) == []


def test_backfill_without_a_ledger_is_an_error(run: Run, tmp_path: Path) -> None:
    result = run("backfill", "--ledger", str(tmp_path / "none.db"))
    assert result.exit_code == 1
    assert f"error: there is no ledger at {tmp_path / 'none.db'}" in result.output
    assert not (tmp_path / "none.db").exists()


def test_backfill_of_what_is_not_a_ledger_exits_with_1(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("not a database, but long enough to be taken for one" * 20)
    assert run("backfill", "--ledger", str(path)).exit_code == 1
