"""The names of Google's models."""

from __future__ import annotations

import pytest

from genledger_instrumentors.formats.gemini_models import model_name, renamed

VERTEX = "projects/p/locations/global/"


@pytest.mark.parametrize(
    ("resource", "model"),
    [
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        (f"{VERTEX}publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/meta/models/llama-3.3-70b-instruct-maas", "meta/llama-3.3-70b-instruct-maas"),
        ("tunedModels/mine", "tunedModels/mine"),
        (f"{VERTEX}endpoints/7", f"{VERTEX}endpoints/7"),
    ],
)
def test_a_model_is_named_without_the_place_where_everybody_finds_it(resource: str, model: str) -> None:
    assert model_name(resource) == model


@pytest.mark.parametrize(
    ("resource", "model", "expected"),
    [
        ("models/a", "b", "models/b"),
        ("tunedModels/mine", "b", "models/b"),
        ("models/a", "models/b", "models/b"),
        ("publishers/google/models/a", "b", "publishers/google/models/b"),
        ("publishers/meta/models/a", "b", "publishers/google/models/b"),
        ("publishers/google/models/a", "meta/b", "publishers/meta/models/b"),
        (f"{VERTEX}publishers/google/models/a", "b", f"{VERTEX}publishers/google/models/b"),
        (f"{VERTEX}endpoints/7", "b", f"{VERTEX}publishers/google/models/b"),
        ("publishers/google/models/a", "tunedModels/mine", "tunedModels/mine"),
    ],
)
def test_another_model_is_found_in_the_same_place(resource: str, model: str, expected: str) -> None:
    assert renamed(resource, model) == expected
