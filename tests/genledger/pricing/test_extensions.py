"""A name that extends a known one is another product, whose price is not known."""

from __future__ import annotations

import pytest

from genledger.pricing import table
from genledger.pricing.extensions import is_name_of

SUFFIXES = ("-lite", "-nano", "-cyber", "-8b", "-plus", ".5", "-ultra-preview", "-v9", "-v2:0", "2")
DATES = ("-2026-03-17", "-20260317", "-latest", "-preview", "-preview-05-20", "-001", "-v1:0")


@pytest.mark.parametrize("provider", ["openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "cohere", "aws"])
def test_no_made_up_name_is_priced_as_the_model_that_it_extends(provider: str) -> None:
    prices = table.load()
    known = prices.provider(provider)
    assert known is not None
    ids = {model.id.lower() for model in known.models}
    wrong = []
    for identity in ids:
        for suffix in SUFFIXES:
            found = prices.model(known, [identity + suffix])
            if found is None or identity + suffix in ids or found.id.lower() != identity:
                continue
            if isinstance(found.prices, list) or any(vars(found.prices).values()):  # sizes of a free family are free
                wrong.append(f"{identity + suffix} as {found.id}")
    assert not wrong


@pytest.mark.parametrize("suffix", DATES)
@pytest.mark.parametrize(("provider", "name"), [("openai", "gpt-5-nano"), ("anthropic", "claude-opus-4-6")])
def test_a_dated_name_is_the_models_own(provider: str, name: str, suffix: str) -> None:
    prices = table.load()
    known = prices.provider(provider)
    assert known is not None
    model = prices.model(known, [name])
    assert model is not None
    assert is_name_of(model, name + suffix)
