"""The table behind its adapter, the stored snapshot, and the supplement."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from genledger.pricing import Cost, Usage, configure, lookup, price, table, table_update
from genledger.pricing.price_rule import Subject

NOON = 1_795_262_400 * 10**9
PROVIDERS = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": r"https://api\.openai\.com",
        "models": [
            {"id": "gpt-9", "match": {"equals": "gpt-9"}, "prices": {"input_mtok": "9", "output_mtok": "90"}},
        ],
    }
]


@pytest.fixture
def reload() -> Any:
    """Forget the loaded table before and after."""

    def forget() -> None:
        table.load.cache_clear()
        configure(None)

    forget()
    yield forget
    forget()


TODAY = datetime.now(UTC).date().isoformat()


def store(fetched: str = TODAY, **more: Any) -> None:
    table_update.location().parent.mkdir(parents=True)
    stored = {"fetched": fetched, "url": "https://example.test", "providers": [PROVIDERS[0] | more]}
    table_update.location().write_text(json.dumps(stored))


def test_a_stored_table_is_used_with_its_own_date(reload: Any) -> None:
    assert price(Usage(input=1), provider="openai", model="gpt-9", at_ns=NOON) == "unknown_model"
    store()
    reload()
    cost = price(Usage(input=1_000_000), provider="openai", model="gpt-9", at_ns=NOON)
    assert isinstance(cost, Cost)
    assert (cost.amount, cost.table_date) == (pytest.approx(9), TODAY)


def test_a_stored_table_is_used_although_days_that_it_announced_have_come(reload: Any) -> None:
    installed = table.load()
    announced = [day for year in (2025, 2026, 2027) for month in range(1, 13) for day in days_of(year, month)]
    store("2025-01-01", price_comments=" ".join(announced))
    reload()
    assert table.load().date == "2025-01-01" < installed.date


def days_of(year: int, month: int) -> list[str]:
    return [f"{year}-{month:02}-{day:02}" for day in range(1, 32)]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"providers": 3}', '{"fetched": "x", "url": "y", "providers": [{"id": 1}]}']
)
def test_a_broken_stored_table_is_complained_about_and_the_installed_one_serves(
    reload: Any, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    table_update.location().parent.mkdir(parents=True)
    table_update.location().write_text(text)
    assert isinstance(price(Usage(input=1), provider="openai", model="gpt-4o", at_ns=NOON), Cost)
    assert "genledger prices update" in caplog.text


def test_a_stored_table_that_is_older_than_the_installed_one_is_not_used(reload: Any) -> None:
    store("2026-01-01")
    reload()
    assert price(Usage(input=1), provider="openai", model="gpt-9", at_ns=NOON) == "unknown_model"


def answer(monkeypatch: pytest.MonkeyPatch, content: bytes | Exception) -> None:
    httpx2 = pytest.importorskip("httpx2")

    def get(url: str, **_: Any) -> Any:
        if isinstance(content, Exception):
            raise content
        return SimpleNamespace(content=content, raise_for_status=lambda: None)

    monkeypatch.setattr(httpx2, "get", get)


def test_update_stores_what_was_fetched(reload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, json.dumps(PROVIDERS).encode())
    stored = table_update.update()
    assert table_update.read() == stored
    assert stored.fetched == datetime.now(UTC).date().isoformat()
    assert isinstance(price(Usage(input=1), provider="openai", model="gpt-9", at_ns=NOON), Cost)


@pytest.mark.parametrize(
    "content",
    [OSError("no route to host"), b"<html>", b"{}", b"[]", b'[{"id": "openai"}]'],
    ids=["unreachable", "not JSON", "not a list", "empty", "not providers"],
)
def test_an_update_that_fails_changes_nothing(reload: Any, monkeypatch: pytest.MonkeyPatch, content: Any) -> None:
    store("2026-11-01")
    answer(monkeypatch, content)
    with pytest.raises(table_update.UpdateError, match=r"raw\.githubusercontent\.com"):
        table_update.update()
    kept = table_update.read()
    assert kept is not None
    assert kept.fetched == "2026-11-01"
    assert [path.name for path in table_update.location().parent.iterdir()] == [table_update.location().name]


def test_pricing_never_opens_a_connection(monkeypatch: pytest.MonkeyPatch, reload: Any) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert isinstance(price(Usage(input=1), provider="openai", model="gpt-4o", at_ns=NOON), Cost)


def test_every_price_key_of_the_table_is_known_to_the_adapter() -> None:
    from genai_prices.data import providers

    used: dict[str, Any] = {}
    for provider in providers:
        for model in provider.models:
            prices = model.prices if isinstance(model.prices, list) else [SimpleNamespace(prices=model.prices)]
            for one in [*prices, *(model.price_variants or ())]:
                used.update((key, value) for key, value in vars(one.prices).items() if value is not None)
    unmapped = {key for key, value in used.items() if not table.bands(cast(Any, SimpleNamespace(**{key: value})))[0][1]}
    assert unmapped <= {"input_video_mtok", "output_video_mtok"}


def test_the_adapter_gives_what_the_table_computes() -> None:
    """For every model of the big providers, the library's own arithmetic, on a plain call of 1,000 + 100 tokens."""
    import genai_prices
    from genai_prices.data import providers

    when = datetime(2026, 11, 20, 12, tzinfo=UTC)
    usage = genai_prices.Usage(input_tokens=1_000, output_tokens=100)
    compared = 0
    for provider in providers:
        if provider.id not in ("openai", "anthropic", "google", "mistral", "x-ai", "groq", "cohere", "together"):
            continue
        for model in provider.models:
            rates = vars(model.get_prices(when))
            if "input_mtok" not in rates or "output_mtok" not in rates:
                continue
            theirs = float(model.calc_price(usage, provider, genai_request_timestamp=when).total_price)
            bands, _ = table.price_at(model, when.date(), 12 * 3600, None)
            ours = 1_000 * bands[0][1]["input"] + 100 * bands[0][1]["output"] + bands[0][1].get("request", 0)
            assert ours == pytest.approx(theirs, rel=1e-9), model.id
            compared += 1
    assert compared > 200


def test_every_supplementary_row_names_its_source_and_the_day_it_was_checked() -> None:
    rows = lookup.supplement()
    assert len(rows) > 100
    for row in rows:
        assert row.source is not None
        assert row.source.startswith("https://")
        assert row.checked is not None


def test_no_supplementary_row_makes_every_model_of_a_provider_known() -> None:
    subject = Subject(("openai",), ("gpt-9",), ("gpt-9",), None, None, None, date(2026, 11, 21))
    for name in ("openai", "azure", "anthropic", "google", "vertex", "aws", "mistral", "x-ai", "cohere"):
        everyone = Subject((name,), subject.models, subject.requested, None, None, None, subject.day)
        assert not any(row.prices_a_model for row in lookup.supplement() if row.matches(everyone)), name
